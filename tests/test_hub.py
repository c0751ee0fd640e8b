"""AlignModel in and out: the same bytes, the same embeddings, the same loss, and clear refusals."""

import dataclasses

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AlignConfig, AlignModel, AlignProcessor
from transformers.models.efficientnet.image_processing_pil_efficientnet import (
    EfficientNetImageProcessorPil,
)

from align_edu.hub.align_model import _names, load_hf, save_hf
from align_edu.lab.stand_ins import tiny_hf
from align_edu.loss import contrastive_loss
from align_edu.model.align import Align
from align_edu.presets import get_preset
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
    run, theirs = load_hf(released), AlignModel.from_pretrained(released).eval()
    processor = AlignProcessor.from_pretrained(released)
    texts = [*TEXTS, "red cat " * 50]  # the last one is cut
    words = processor(text=texts, truncation=True, return_tensors="pt")
    assert words["input_ids"].shape == (5, 64)  # they pad to 64, we to the longest
    prepare = EfficientNetImageProcessorPil.from_pretrained(released)
    with torch.no_grad():
        text = theirs.get_text_features(**words).pooler_output
        pixels = prepare(pictures(), return_tensors="pt").pixel_values
        image = theirs.get_image_features(pixels).pooler_output
    for ours, expected in ((run.encode_images(pictures()), image), (run.encode_texts(texts), text)):
        assert (ours - nn.functional.normalize(expected, dim=1)).abs().max() <= 1e-5
        assert (ours[0] - ours[1]).abs().max() > 1e-4


def test_the_preset_of_a_loaded_run_holds_sizes_padding_and_preprocessing(released):
    run = load_hf(str(released))
    image, text = run.preset.image, run.preset.text
    assert run.preset.name == "align-tiny" and run.folder == released
    assert (image.width, image.depth, image.padding) == (0.35, 0.35, "tf_static")
    assert (image.resize, image.crop, image.batch_norm_momentum) == (77, 64, 0.01)
    assert (text.layers, text.width, text.positions, text.max_length) == (2, 32, 512, 64)
    assert run.model.temperature().item() == pytest.approx(0.05)


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
    others = dict(theirs.named_parameters())
    names = _names(ours, "tiny") | {"temperature.value": "temperature"}
    learned = [(own, others[names[name]]) for name, own in ours.named_parameters()]
    unused = [other for _, other in learned if other.grad is None]  # the pooler's two
    assert len(learned) == len(others) and len(unused) == 2
    for own, other in learned:
        # Attention's key biases have no gradient but rounding: softmax ignores a shift.
        if other.grad is not None:
            assert (own.grad - other.grad).norm() <= 1e-6 * other.grad.norm() + 1e-9


def test_the_full_size_has_the_names_and_the_size_of_the_released_weights():
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


def test_files_of_other_ages_are_read(copy):
    change_weights(  # an older file's counters
        copy, lambda t: t.update({"text_model.embeddings.position_ids": torch.arange(512)[None]})
    )
    (copy / "processor_config.json").unlink()
    change_config(copy, "vision_config", image_size=289)
    image = load_hf(copy).preset.image
    assert (image.resize, image.crop) == (346, 289)  # the paper's ratio


def test_the_tiny_stand_in_has_the_released_weights_conventions_and_the_same_bytes(tmp_path):
    before = torch.get_rng_state()
    tiny, again = tiny_hf(tmp_path / "tiny"), tiny_hf(tmp_path / "again")
    other = tiny_hf(tmp_path / "other", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    weights = [(folder / "model.safetensors").read_bytes() for folder in (tiny, again, other)]
    assert weights[0] == weights[1] != weights[2]
    run = load_hf(tiny)
    image = run.preset.image
    assert (image.crop % 32, image.padding, run.preset.text.pooler) == (1, "tf_static", True)
    assert image.resize == round(image.crop * 346 / 289)
    assert run.model.temperature().item() == pytest.approx(0.05)
    assert run.model.text_tower.bert.pooler.dense.weight.any()
    colours = [Image.new("RGB", (80, 60), colour) for colour in ("red", "blue", "white")]
    for vectors in (
        run.encode_images(colours),
        run.encode_texts(["a red cat", "two dogs", "snow"]),
    ):
        cosines = vectors @ vectors.T
        assert cosines[~torch.eye(3, dtype=torch.bool)].max() < 0.999
    theirs = AlignModel.from_pretrained(tiny).eval().double()
    pixels = 2 * torch.rand(2, 3, 65, 65, generator=torch.Generator().manual_seed(0)) - 1
    with torch.no_grad():
        expected = theirs.get_image_features(pixels.double()).pooler_output
        ours = run.model.double().encode_image(pixels.double())
    assert (ours - nn.functional.normalize(expected, dim=1)).abs().max() <= 1e-9
