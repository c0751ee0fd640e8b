"""What load_hf and save_hf refuse: one line each, and nothing of it runs."""

import os
import pickle
from dataclasses import replace

import pytest
import torch

from align_edu.hub.align_model import load_hf, save_hf
from align_edu.io import InputError
from align_edu.model.align import Align
from align_edu.presets import get_preset
from tests.samples import POINTER
from tests.tiny_released import change_config, change_weights, pictures


def refused(words, call, *args):
    with pytest.raises(InputError, match=words) as caught:
        call(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", lambda old: b"[1]", "model_type is None"),
        ("config.json", lambda old: b'{"preset": {}}', "use load_run"),
        ("config.json", lambda old: b'{"model_type": "clip"}', "model_type is 'clip', not 'align'"),
        ("config.json", lambda old: b'{"model_type": "align", "text_config": 3}', "configuration"),
        ("config.json", None, "config.json: no such file"),
        ("model.safetensors", lambda old: old[: len(old) // 2], "not a whole safetensors file"),
        ("model.safetensors", None, "model.safetensors: no such file"),
        ("tokenizer.json", lambda old: b"{", "tokenizer.json: not a tokenizer file"),
        (
            "processor_config.json",
            lambda old: old.replace(b'"resample": 2', b'"resample": 3'),
            "image processor has resample = 3",
        ),
    ],
)
def test_a_missing_damaged_or_other_file_is_named(copy, file, change, words):
    path = copy / file
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    refused(words, load_hf, copy)


def test_a_name_that_is_not_in_the_cache_tells_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    words = r"not in this machine's cache.*690 MB.*hf download kakaobrain/align-base"
    refused(words, load_hf, "kakaobrain/align-base")
    refused("no such folder", load_hf, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(3, 32), r"text_projection.weight has shape \(3, 32\)"),
        (None, "text_projection.weight is missing"),
    ],
)
def test_weights_of_another_model_are_named(copy, tensor, words):
    name = "text_projection.weight"
    change_weights(copy, lambda t: t.pop(name) if tensor is None else t.update({name: tensor}))
    refused(words, load_hf, copy)


def test_weights_that_the_model_lacks_are_named(copy):
    change_weights(copy, lambda tensors: tensors.update({"more": torch.zeros(1)}))
    refused("more does not exist", load_hf, copy)


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
        ("text_config", {"vocab_size": 9}, "pieces, but the model has 9"),
        ("vision_config", {"width_coefficient": 0.25}, "use 0.3 or more"),
        (None, {"projection_dim": 64}, "projection_dim is 64, the image tower's width 112"),
        ("vision_config", {"depthwise_padding": [1]}, "names block 1, of stride 2"),
        ("vision_config", {"depthwise_padding": [0, 4]}, None),  # both of stride 1
    ],
)
def test_what_our_towers_are_not_is_refused_by_name(copy, part, values, words):
    change_config(copy, part, **values)
    if words is None:
        load_hf(copy)
    else:
        refused(words, load_hf, copy)


def test_a_folder_without_a_tokenizer_gives_the_towers(copy):
    (copy / "tokenizer.json").unlink()
    run = load_hf(copy)
    assert run.encode_images(pictures()).shape == (4, 112)
    refused("no tokenizer.json and no vocab.txt; texts need one", run.encode_texts, ["a cat"])


def test_a_model_that_alignmodel_cannot_compute_is_not_saved(released, tmp_path):
    toy = get_preset("toy")
    refused("no image tower with padding 'symmetric'", save_hf, Align(toy, 50), tmp_path / "a")
    image = replace(toy.image, padding="tf_static", projection=64)
    model = Align(replace(toy, image=image), 50)
    refused("no image tower with projection 64", save_hf, model, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    refused("exists and is not empty", save_hf, load_hf(released), released)


@pytest.mark.parametrize(
    ("content", "words"), [(POINTER, "`git lfs pull`"), (b"red\n", r"\[PAD\]"), (b"\xe9", "utf-8")]
)
def test_a_list_of_pieces_that_is_none_is_named(copy, content, words):
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_bytes(content)
    refused(rf"vocab\.txt: .*{words}", load_hf, copy)
