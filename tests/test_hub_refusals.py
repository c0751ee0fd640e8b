"""What load_hf and save_hf refuse: one line each, and nothing of it runs."""

import dataclasses
import json
import os
import pickle

import pytest
import torch

from align_edu.hub.align_model import load_hf, save_hf
from align_edu.model.align import Align
from align_edu.presets import get_preset
from tests.tiny_released import change_config, change_weights, pictures, refused


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
    refused(r"text_projection.weight has shape \(3, 32\)", load_hf, copy)
    change_weights(copy, lambda tensors: tensors.pop(name))
    refused("text_projection.weight is missing", load_hf, copy)
    (copy / "model.safetensors").write_bytes(whole)
    change_weights(copy, lambda tensors: tensors.update({"more": torch.zeros(1)}))
    refused("more does not exist", load_hf, copy)
    (copy / "model.safetensors").unlink()
    refused("model.safetensors: no such file", load_hf, copy)


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
    refused("image processor has resample = 3", load_hf, copy)


def test_a_folder_without_a_tokenizer_gives_the_towers_and_a_broken_one_is_refused(copy):
    (copy / "tokenizer.json").write_text("{")
    refused("tokenizer.json: not a tokenizer file", load_hf, copy)
    (copy / "tokenizer.json").unlink()
    run = load_hf(copy)
    assert run.encode_images(pictures()).shape == (4, 112)
    refused("no tokenizer.json and no vocab.txt; texts need one", run.encode_texts, ["a cat"])


def test_a_model_that_alignmodel_cannot_compute_is_not_saved(released, tmp_path):
    toy = get_preset("toy")
    refused("no image tower with padding 'symmetric'", save_hf, Align(toy, 50), tmp_path / "a")
    image = dataclasses.replace(toy.image, padding="tf_static", projection=64)
    model = Align(dataclasses.replace(toy, image=image), 50)
    refused("no image tower with projection 64", save_hf, model, tmp_path / "b")
    refused("exists and is not empty", save_hf, load_hf(released), released)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
