"""AlignModel in and out: the same bytes, the same embeddings, the same loss, and clear refusals."""

import dataclasses
import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AlignConfig,
    AlignModel,
    AlignProcessor,
    EfficientNetImageProcessor,
    PreTrainedTokenizerFast,
)

import align_edu
from align_edu.align import Align
from align_edu.errors import InputError
from align_edu.hub import load_hf, save_hf
from align_edu.loss import contrastive_loss
from align_edu.presets import get_preset
from align_edu.search import ImageIndex
from align_edu.trunk_weights import trunk_names
from align_edu.wordpiece import tokenizer_from_pieces
from tests.test_towers_exact import with_random_weights

TEXTS = ["a red cat", "green dogs", "a blue house in snow", "cat"]
# BERT's own numbering: [PAD] is 0, [UNK] 100 and so on, far from ours.
WORDS = ["a", "red", "green", "blue", "cat", "dog", "house", "in", "snow", "##s"]
PIECES = [
    "[PAD]",
    *(f"[unused{i}]" for i in range(99)),
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *WORDS,
]


def tiny_config(**vision):
    return AlignConfig(
        projection_dim=112,
        temperature_init_value=0.05,
        text_config={
            "vocab_size": len(PIECES),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
        },
        vision_config={
            "image_size": 64,
            "width_coefficient": 0.35,
            "depth_coefficient": 0.35,
            "hidden_dim": 112,
            "depthwise_padding": [],
            **vision,
        },
    )


def tiny_processor():
    pictures = EfficientNetImageProcessor(
        size={"height": 77, "width": 77},
        crop_size={"height": 64, "width": 64},
        do_center_crop=True,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
        include_top=False,
        resample=2,
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_from_pieces(PIECES),
        model_max_length=64,
        **{f"{name}_token": f"[{name.upper()}]" for name in names},
    )
    return AlignProcessor(pictures, words)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder as the released weights' one, tiny and random."""
    folder = tmp_path_factory.mktemp("released") / "align-tiny"
    torch.manual_seed(0)
    model = AlignModel(tiny_config())
    with_random_weights(model.vision_model)
    with torch.no_grad():
        for p in model.text_model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
        model.text_projection.bias.normal_()
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(released, tmp_path):
    return shutil.copytree(released, tmp_path / "copy")


def change_config(folder, part, **values):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    (config[part] if part else config).update(values)
    path.write_text(json.dumps(config))


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def pictures():
    make = np.random.default_rng(0)
    sizes = ((64, 64), (90, 50), (77, 77), (40, 200))
    return [Image.fromarray(make.integers(0, 255, (*s, 3), dtype=np.uint8)) for s in sizes]


def batch():
    torch.manual_seed(1)
    pixels = torch.randn(4, 3, 64, 64)
    processed = tiny_processor().tokenizer(TEXTS, padding=True, return_tensors="pt")
    return pixels, processed["input_ids"], processed["attention_mask"]


def refused(words, call, *args):
    with pytest.raises(InputError, match=words) as caught:
        call(*args)
    assert "\n" not in str(caught.value)


def test_both_functions_are_at_the_top_level():
    assert align_edu.load_hf is load_hf and align_edu.save_hf is save_hf


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
    ours = load_hf(released).model.eval()
    theirs = AlignModel.from_pretrained(released).eval()
    pixels, ids, mask = batch()
    loss = contrastive_loss(*ours(pixels, ids, mask), ours.temperature(), label_smoothing=0.1)
    half = theirs(pixel_values=pixels, input_ids=ids, attention_mask=mask, return_loss=True).loss
    assert loss.item() == pytest.approx(2 * half.item(), rel=1e-5)
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
        assert (own.grad - other.grad).norm() <= 1e-4 * other.grad.norm() + 1e-7
    assert theirs.text_model.pooler.dense.weight.grad is None


def test_one_step_of_alignmodel_in_training_mode_forgets_its_statistics():
    """What AlignModel does: TensorFlow's momentum 0.99, given to torch as torch's."""
    torch.manual_seed(0)
    model = AlignModel(tiny_config()).vision_model.train()
    seen = {}

    def note(norm, inputs, _):
        seen[norm] = inputs[0].detach().transpose(0, 1).flatten(1).mean(dim=1)

    norms = {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for norm in norms.values():
        norm.register_forward_hook(note)
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    for name, norm in norms.items():
        # By hand: the share of the batch is 0.99, and torch's own 0.1 in the expansion.
        share = 0.1 if name.endswith("expand_bn") else 0.99
        assert torch.allclose(norm.running_mean, share * seen[norm], atol=1e-6), name


def test_the_full_size_has_the_names_and_the_size_of_the_released_weights():
    from align_edu.hub import _names

    config = AlignConfig(vision_config={"image_size": 289, "hidden_dim": 640}, projection_dim=640)
    preset = get_preset("b7_base")
    preset = dataclasses.replace(preset, text=dataclasses.replace(preset.text, pooler=True))
    with torch.device("meta"):
        theirs = AlignModel(config).state_dict()
        model = Align(preset, 30_522)
    own = model.state_dict()
    names = _names(model) | {"temperature.value": "temperature"}
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


def test_padding_of_single_blocks_is_refused_where_it_would_change_the_output(copy):
    change_config(copy, "vision_config", depthwise_padding=[0, 4])  # both of stride 1
    load_hf(copy)
    change_config(copy, "vision_config", depthwise_padding=[1])
    refused("depthwise_padding names block 1, of stride 2", load_hf, copy)


def test_wrong_folders_are_refused_in_one_line(tmp_path, copy):
    refused("no such folder", load_hf, tmp_path / "nothing")
    refused("config.json: no such file", load_hf, tmp_path)
    change_config(copy, None, model_type="clip")
    refused("model_type is 'clip', not 'align'", load_hf, copy)
    (copy / "config.json").write_text("[1]")
    refused("model_type is None", load_hf, copy)
    (copy / "config.json").write_text(json.dumps({"preset": {}}))
    refused("use load_run", load_hf, copy)
    (copy / "config.json").write_text(json.dumps({"model_type": "align", "text_config": 3}))
    refused("not an AlignModel's configuration", load_hf, copy)


def test_a_name_that_is_not_in_the_cache_tells_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    words = r"not in this machine's cache.*690 MB.*hf download kakaobrain/align-base"
    refused(words, load_hf, "kakaobrain/align-base")


def test_damaged_weights_are_refused_in_one_line(copy):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused("not a whole safetensors file", load_hf, copy)
    (copy / "model.safetensors").write_bytes(whole)
    name = "text_projection.weight"
    change_weights(copy, lambda tensors: tensors.update({name: torch.zeros(3, 32)}))
    refused(r"text_projection.weight has the shape \(3, 32\)", load_hf, copy)
    change_weights(copy, lambda tensors: tensors.pop(name))
    refused("text_projection.weight is not there", load_hf, copy)
    (copy / "model.safetensors").write_bytes(whole)
    change_weights(copy, lambda tensors: tensors.update({"more": torch.zeros(1)}))
    refused("more has no place", load_hf, copy)
    (copy / "model.safetensors").unlink()
    refused("no model.safetensors", load_hf, copy)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (Trap.target,)


def test_pickled_weights_are_refused_and_nothing_runs(copy, tmp_path):
    Trap.target = str(tmp_path / "sprung")
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    refused(r"only pickled weights \(pytorch_model.bin\)", load_hf, copy)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("vision_config", {"pooling_type": "max"}, "vision_config.pooling_type is max"),
        ("vision_config", {"batch_norm_eps": 1e-5}, "vision_config.batch_norm_eps is 1e-05"),
        ("text_config", {"hidden_act": "relu"}, "text_config.hidden_act is relu"),
        ("text_config", {"hidden_size": "x"}, "not an AlignModel's configuration"),
        ("text_config", {"vocab_size": 9}, "pieces, the model knows 9"),
        ("vision_config", {"width_coefficient": 0.25}, "take 0.3 or more"),
        (None, {"projection_dim": 64}, "projection_dim is 64, the image tower's width 112"),
    ],
)
def test_what_our_towers_are_not_is_refused_by_name(copy, part, values, words):
    change_config(copy, part, **values)
    refused(words, load_hf, copy)


def test_another_preparation_of_pictures_is_refused_by_name(copy):
    path = copy / "processor_config.json"
    values = json.loads(path.read_text())
    values["image_processor"]["resample"] = 3
    path.write_text(json.dumps(values))
    refused("prepared with resample = 3", load_hf, copy)


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(copy):
    (copy / "tokenizer.json").write_text("{")
    refused("tokenizer.json: not a tokenizer file", load_hf, copy)
    (copy / "tokenizer.json").unlink()
    refused("no tokenizer.json and no vocab.txt", load_hf, copy)


def test_a_model_that_alignmodel_cannot_compute_is_not_saved(released, tmp_path):
    toy = get_preset("toy")
    refused("built with 'symmetric'", save_hf, Align(toy, 50), tmp_path / "a")
    image = dataclasses.replace(toy.image, padding="tf_static", projection=64)
    model = Align(dataclasses.replace(toy, image=image), 50)
    refused("no linear layer", save_hf, model, tmp_path / "b")
    refused("already there and not empty", save_hf, load_hf(released), released)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
