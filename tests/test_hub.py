"""AlignModel in and out: the same bytes, embeddings and loss; one line for what is refused."""

import json
import os
import pickle

import pytest
import torch
from torch import nn
from transformers import AlignConfig, AlignModel, AlignProcessor
from transformers.models.efficientnet.image_processing_pil_efficientnet import (
    EfficientNetImageProcessorPil,
)

from align_edu.cli import main
from align_edu.evaluation import embed, evaluate_retrieval
from align_edu.evaluation.embed import load_encoder
from align_edu.hub import _names, load_hf, save_hf
from align_edu.io import weights_of
from align_edu.loss import contrastive_loss
from align_edu.model.align import Align
from align_edu.presets import get_preset, replace_fields
from tests.samples import MODEL, POINTER, cases, entry, refused, write_split
from tests.tiny_released import PIECES, TEXTS, batch, change_config, change_weights, pictures


def test_alignmodel_to_ours_to_alignmodel_gives_the_same_bytes(released, tmp_path):
    out = save_hf(load_hf(released), tmp_path / "back")
    for name in ("model.safetensors", "tokenizer.json", "processor_config.json"):
        assert (out / name).read_bytes() == (released / name).read_bytes(), name
    # What our tower does not use comes along, too.
    assert any("pooler" in name for name in AlignModel.from_pretrained(out).state_dict())


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
    preset = replace_fields(get_preset("b7_base"), {"text.pooler": "true"})
    with torch.device("meta"):
        theirs = AlignModel(config).state_dict()
        model = Align(preset, 30_522)
    own = model.state_dict()
    names = _names(model, "b7") | {"temperature.value": "temperature"}
    assert sorted(names.values()) == sorted(theirs) and sorted(names) == sorted(own)
    assert all(own[a].shape == theirs[b].shape for a, b in names.items())
    assert round(sum(t.numel() * t.element_size() for t in theirs.values()) / 1e6) == 690


def test_weights_in_several_files_and_pieces_in_a_list_are_read(copy, released):
    AlignModel.from_pretrained(released).save_pretrained(copy, max_shard_size="300KB")
    (copy / "model.safetensors").unlink()
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    one, many = load_hf(released), load_hf(copy)
    assert torch.equal(one.encode_texts(TEXTS), many.encode_texts(TEXTS))
    assert torch.equal(one.encode_images(pictures()), many.encode_images(pictures()))
    before, part = weights_of(copy), max(copy.glob("model-*.safetensors"))
    part.write_bytes(b"other")  # all the files identify the model
    assert len({weights_of(released), before, weights_of(copy)}) == 3


def test_files_of_other_ages_are_read(copy):
    older = {"text_model.embeddings.position_ids": torch.arange(512)[None]}  # its counters
    change_weights(copy, lambda tensors: tensors.update(older))
    (copy / "processor_config.json").unlink()
    change_config(copy, "vision_config", image_size=289, depthwise_padding=[0, 4])  # of stride 1
    run = load_hf(str(copy))
    image, text = run.preset.image, run.preset.text
    assert (image.resize, image.crop, image.padding) == (346, 289, "tf_static")  # the paper's ratio
    assert (image.width, image.depth, image.batch_norm_momentum) == (0.35, 0.35, 0.01)
    assert (text.layers, text.width, text.positions, text.max_length) == (2, 32, 512, 64)
    assert run.model.temperature().item() == pytest.approx(0.05)


@cases(
    "file, change, words",
    ("config.json", lambda old: b"[1]", "model_type is None"),
    ("config.json", lambda old: b'{"preset": {}}', "use load_run"),
    ("config.json", lambda old: b'{"model_type": "clip"}', "model_type is 'clip', not 'align'"),
    ("config.json", lambda old: b'{"model_type": "align", "text_config": 3}', "configuration"),
    ("config.json", None, "config.json: no such file"),
    ("model.safetensors", lambda old: old[: len(old) // 2], "not a whole safetensors file"),
    ("model.safetensors", None, "model.safetensors: no such file"),
    ("tokenizer.json", lambda old: b"{", "tokenizer.json: not a tokenizer file"),
    ("processor_config.json", lambda old: old.replace(b": 2", b": 3"), "has resample = 3"),
)
def test_a_missing_damaged_or_other_file_is_named(copy, file, change, words):
    path = copy / file
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    refused(words, load_hf, copy)


def test_weights_of_another_model_are_named(copy):
    name = "text_projection.weight"
    for change, words in (
        (lambda t: t.update(more=torch.zeros(1)), "more does not exist"),
        (lambda t: t.pop("more") is t.update({name: torch.zeros(3, 32)}), r"has shape \(3, 32\)"),
        (lambda t: t.pop(name), f"{name} is missing"),
    ):
        change_weights(copy, change)
        refused(words, load_hf, copy)


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


@cases(
    "part, values, words",
    ("vision_config", {"pooling_type": "max"}, "vision_config.pooling_type is max"),
    ("text_config", {"hidden_act": "relu"}, "text_config.hidden_act is relu"),
    ("text_config", {"hidden_size": "x"}, "not an AlignModel's configuration"),
    ("text_config", {"vocab_size": 9}, "pieces, but the model has 9"),
    ("vision_config", {"width_coefficient": 0.25}, "use 0.3 or more"),
    (None, {"projection_dim": 64}, "projection_dim is 64, the image tower's width 112"),
    ("vision_config", {"depthwise_padding": [1]}, "names block 1, of stride 2"),
)
def test_what_our_towers_are_not_is_refused_by_name(copy, part, values, words):
    change_config(copy, part, **values)
    refused(words, load_hf, copy)


def test_a_folder_without_a_tokenizer_gives_the_towers(copy):
    (copy / "tokenizer.json").unlink()
    run = load_hf(copy)
    assert run.encode_images(pictures()).shape == (4, 112)
    refused("no tokenizer.json and no vocab.txt; texts need one", run.encode_texts, ["a cat"])


def test_a_model_that_alignmodel_cannot_compute_is_not_saved(released, tmp_path):
    toy = get_preset("toy")
    refused("no image tower with padding 'symmetric'", save_hf, Align(toy, 50), tmp_path / "a")
    changes = {"image.padding": '"tf_static"', "image.projection": "64"}
    model = Align(replace_fields(toy, changes), 50)
    refused("no image tower with projection 64", save_hf, model, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    refused("exists and is not empty", save_hf, load_hf(released), released)


@cases("text, words", (POINTER, "`git lfs pull`"), (b"red\n", r"\[PAD\]"), (b"\xe9", "utf-8"))
def test_a_list_of_pieces_that_is_none_is_named(copy, text, words):
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_bytes(text)
    refused(rf"vocab\.txt: .*{words}", load_hf, copy)


@pytest.fixture
def benchmark(tmp_path):
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number}.png")
    return write_split(tmp_path, [entry(f"{n}.png", [text]) for n, text in enumerate(TEXTS)])


def test_a_folder_of_align_model_is_evaluated_indexed_and_searched(copy, benchmark, answer):
    run, index = load_hf(copy), benchmark / "index"
    record = answer("evaluate", copy, "--benchmark", benchmark)
    expected = evaluate_retrieval(run, benchmark)
    assert {name: record[name] for name in expected} == expected
    assert record["run"] == {"name": copy.name, "sha256": weights_of(copy)}
    assert json.loads((copy / "results" / "retrieval.json").read_text()) == record

    assert answer("index", copy, benchmark, index, "--device", "cpu")["images"] == 4
    found = answer("search", index, TEXTS[0], "--top", 4, "--device", "cpu")["hits"]
    vectors = run.encode_images(pictures()) @ run.encode_texts(TEXTS[:1])[0]
    scores = vectors.sort(descending=True).values.tolist()
    assert [hit["score"] for hit in found] == pytest.approx(scores, abs=2e-4)


@pytest.mark.parametrize(
    ("gpu", "device", "expected"),
    [(False, None, "cpu"), (True, None, "cuda"), (True, "cpu", "cpu"), (True, "cuda", "cuda")],
)
def test_a_gpu_is_used_unless_the_user_chooses(gpu, device, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(embed, "load_run", lambda folder, device: device)
    assert load_encoder(MODEL, device) == expected


def test_a_missing_gpu_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in (["evaluate"], ["index", str(tmp_path), str(tmp_path / "out")]):
        command = [command[0], str(MODEL), *command[1:], "--device", "cuda"]
        assert main(command) == 2
        assert "--device cuda: this machine has no GPU" in capsys.readouterr().err
