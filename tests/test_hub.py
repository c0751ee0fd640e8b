"""AlignModel in and out: the same bytes, the same embeddings, the same loss, and clear refusals."""

import dataclasses

import pytest
import torch
from torch import nn
from transformers import AlignConfig, AlignModel, AlignProcessor

from align_edu.hub.align_model import load_hf, save_hf
from align_edu.hub.trunk_weights import trunk_names
from align_edu.loss import contrastive_loss
from align_edu.model.align import Align
from align_edu.presets import get_preset
from align_edu.search import ImageIndex
from tests.tiny_released import (
    PIECES,
    TEXTS,
    batch,
    change_config,
    change_weights,
    pictures,
    with_random_weights,
)


def test_alignmodel_to_ours_to_alignmodel_gives_the_same_bytes(released, tmp_path):
    out = save_hf(load_hf(released), tmp_path / "back")
    for name in ("model.safetensors", "tokenizer.json", "processor_config.json"):
        assert (out / name).read_bytes() == (released / name).read_bytes(), name
    before = AlignModel.from_pretrained(released).state_dict()
    after = AlignModel.from_pretrained(out).state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any("pooler" in name for name in before)  # what our tower does not use comes along


def test_a_loaded_run_gives_alignmodels_embeddings(released):
    run = load_hf(released)
    theirs = AlignModel.from_pretrained(released).eval()
    processor = AlignProcessor.from_pretrained(released)
    words = processor(text=TEXTS, return_tensors="pt")
    assert words["input_ids"].shape == (4, 64)  # they pad to 64, we to the longest
    pixels = theirs_prepared(released)
    with torch.no_grad():
        out = theirs(pixel_values=pixels, **words)
    image, text = run.encode_images(pictures()), run.encode_texts(TEXTS)
    assert (image - out.image_embeds).abs().max() <= 1e-5
    assert (text - out.text_embeds).abs().max() <= 1e-5
    assert (text[0] - text[1]).abs().max() > 1e-3 and (image[0] - image[1]).abs().max() > 1e-4


def theirs_prepared(folder):
    """Pixels as transformers prepares them with Pillow."""
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    processor = EfficientNetImageProcessorPil.from_pretrained(folder)
    return processor(pictures(), return_tensors="pt").pixel_values


def test_a_long_text_is_cut_as_transformers_cuts_it(released):
    run = load_hf(released)
    theirs = AlignModel.from_pretrained(released).eval()
    text = "red cat " * 50
    words = AlignProcessor.from_pretrained(released)(
        text=text, truncation=True, return_tensors="pt"
    )
    assert words["input_ids"].shape[-1] == 64
    with torch.no_grad():
        expected = theirs.get_text_features(**words).pooler_output
    expected = nn.functional.normalize(expected, dim=1)
    assert (run.encode_texts([text]) - expected).abs().max() <= 1e-5


def test_the_preset_of_a_loaded_run_holds_sizes_padding_and_preprocessing(released):
    run = load_hf(str(released))
    image, text = run.preset.image, run.preset.text
    assert run.preset.name == "align-tiny" and run.folder == released
    assert (image.width, image.depth, image.padding) == (0.35, 0.35, "tf_static")
    assert (image.resize, image.crop, image.batch_norm_momentum) == (77, 64, 0.01)
    assert (text.layers, text.width, text.positions, text.max_length) == (2, 32, 512, 64)
    assert run.model.temperature().item() == pytest.approx(0.05)


def test_a_loaded_run_searches_pictures(released, tmp_path):
    for i, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{i}.png")
    run = load_hf(released)
    index = ImageIndex.build(run, tmp_path)
    hit = index.search(run.encode_images(pictures()[2:3])[0], k=1)[0]
    assert hit.path.name == "2.png"


def test_the_sum_loss_is_twice_alignmodels_and_gradients_agree(released):
    # In float64: what is left of a difference is one of definition.
    ours = load_hf(released).model.eval().double()
    theirs = AlignModel.from_pretrained(released).eval().double()
    pixels, ids, mask = batch()
    pixels = pixels.double()
    loss = contrastive_loss(*ours(pixels, ids, mask), ours.temperature(), label_smoothing=0.1)
    half = theirs(pixel_values=pixels, input_ids=ids, attention_mask=mask, return_loss=True).loss
    assert loss.item() == pytest.approx(2 * half.item(), rel=1e-7)
    loss.backward()
    (2 * half).backward()
    theirs_by_name = dict(theirs.named_parameters())
    own_by_name = dict(ours.image_tower.trunk.named_parameters())
    trunk = trunk_names(ours.image_tower, "transformers")
    pairs = [(own_by_name[a], theirs_by_name[f"vision_model.{trunk[a]}"]) for a in own_by_name]
    pairs += [
        (p, theirs_by_name[f"text_model.{name}"])
        for name, p in ours.text_tower.bert.named_parameters()
        if not name.startswith("pooler")
    ]
    pairs += [
        (ours.text_tower.projection.weight, theirs.text_projection.weight),
        (ours.text_tower.projection.bias, theirs.text_projection.bias),
        (ours.temperature.value, theirs.temperature),
    ]
    assert len(pairs) == len(theirs_by_name) - 2  # all but the pooler
    for own, other in pairs:
        # Attention's key biases have no gradient but rounding: softmax ignores a shift.
        assert (own.grad - other.grad).norm() <= 1e-6 * other.grad.norm() + 1e-9
    assert theirs.text_model.pooler.dense.weight.grad is None


def test_the_full_size_has_the_names_and_the_size_of_the_released_weights():
    from align_edu.hub.align_model import _names

    config = AlignConfig(vision_config={"image_size": 289, "hidden_dim": 640}, projection_dim=640)
    preset = get_preset("b7_base")
    preset = dataclasses.replace(preset, text=dataclasses.replace(preset.text, pooler=True))
    with torch.device("meta"):
        theirs = AlignModel(config).state_dict()
        model = Align(preset, 30_522)
    own = model.state_dict()
    names = _names(model, "b7") | {"temperature.value": "temperature"}
    assert sorted(names.values()) == sorted(theirs) and sorted(names) == sorted(own)
    assert all(own[a].shape == theirs[b].shape for a, b in names.items())
    assert round(sum(t.numel() * t.element_size() for t in theirs.values()) / 1e6) == 690


def test_a_model_of_ours_becomes_an_alignmodel(tmp_path):
    preset = get_preset("toy")
    image = dataclasses.replace(preset.image, padding="tf_static")
    preset = dataclasses.replace(preset, image=image)
    model = Align(preset, 50).eval()
    with_random_weights(model.image_tower)
    out = save_hf(model, tmp_path / "ours")
    theirs = AlignModel.from_pretrained(out).eval()
    torch.manual_seed(0)
    pixels, ids = torch.randn(2, 3, 48, 48), torch.randint(5, 50, (2, 7))
    with torch.no_grad():
        result = theirs(pixel_values=pixels, input_ids=ids, attention_mask=torch.ones_like(ids))
        image, text = model(pixels, ids, torch.ones_like(ids))
    assert (image - result.image_embeds).abs().max() <= 1e-5
    assert (text - result.text_embeds).abs().max() <= 1e-5
    assert theirs.temperature.item() == pytest.approx(0.07)  # learned as its logarithm
    assert not theirs.text_model.pooler.dense.weight.any()


def test_weights_in_several_files_and_pieces_in_a_list_are_read(copy, released):
    AlignModel.from_pretrained(released).save_pretrained(copy, max_shard_size="300KB")
    (copy / "model.safetensors").unlink()
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    one, many = load_hf(released), load_hf(copy)
    assert torch.equal(one.encode_texts(TEXTS), many.encode_texts(TEXTS))
    assert torch.equal(one.encode_images(pictures()), many.encode_images(pictures()))


def test_the_counters_of_older_files_are_passed_over(copy):
    def add(tensors):
        tensors["text_model.embeddings.position_ids"] = torch.arange(512)[None]

    change_weights(copy, add)
    load_hf(copy)


def test_without_a_processors_file_pictures_are_prepared_in_the_papers_ratio(copy):
    (copy / "processor_config.json").unlink()
    change_config(copy, "vision_config", image_size=289)
    image = load_hf(copy).preset.image
    assert (image.resize, image.crop) == (346, 289)
