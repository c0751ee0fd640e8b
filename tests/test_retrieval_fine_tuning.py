"""Fine-tuning for retrieval on a benchmark's training split (Section 5.1)."""

import json
import shutil

import pytest
import torch

from align_edu import load_run, train
from align_edu.cli import main
from align_edu.io import InputError
from align_edu.pairs import open_pairs
from align_edu.presets import Preset, fine_tuning, get_preset, replace_fields
from align_edu.training import load_preset
from tests.samples import DATA, MODEL


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """Twenty images of the sample: 0 to 9 for training, 10 to 13 restval, the others test."""
    folder = tmp_path_factory.mktemp("karpathy")
    record = json.loads((DATA / "benchmark" / "dataset_toy.json").read_text())
    record["images"] = record["images"][:20]
    (folder / "images").mkdir()
    for number, image in enumerate(record["images"]):
        image["split"] = "train" if number < 10 else "restval" if number < 14 else "test"
        name = image["filename"]
        shutil.copy(DATA / "benchmark" / "images" / name, folder / "images" / name)
    (folder / "dataset_toy.json").write_text(json.dumps(record))
    return folder


def short() -> Preset:
    changes = {"recipe.batch_size": "32", "recipe.checkpoint_steps": "2"}
    return replace_fields(fine_tuning(load_preset(MODEL), 4), changes)


def test_the_recipe_is_the_papers_for_the_papers_presets():
    before, after = get_preset("b7_base"), fine_tuning(get_preset("b7_base"))
    assert (after.recipe.batch_size, after.recipe.steps) == (2_048, 3_000)
    assert after.recipe.learning_rate == pytest.approx(1e-5)
    assert after.recipe.weight_decay == before.recipe.weight_decay
    assert (after.image, after.text, after.loss) == (before.image, before.text, before.loss)
    assert fine_tuning(get_preset("toy")).recipe.batch_size == 128  # an eighth would be 16


def test_each_text_of_the_training_splits_is_a_pair_with_its_image(benchmark):
    pairs = open_pairs([benchmark])
    record = json.loads((benchmark / "dataset_toy.json").read_text())
    expected = [
        (sentence["raw"], image["filename"])
        for image in record["images"][:14]
        for sentence in image["sentences"]
    ]
    assert list(zip(pairs.captions, pairs.names, strict=True)) == expected
    assert len(set(pairs.keys)) == len(pairs) == 70
    for number in (0, 4, 5, 69):
        assert (
            pairs.image_bytes(number) == (benchmark / "images" / expected[number][1]).read_bytes()
        )


def test_it_starts_from_the_weights_and_the_vocabulary_of_the_run(benchmark, tmp_path):
    still = replace_fields(short(), {"recipe.learning_rate": "0.0"})
    run = train(still, [benchmark], tmp_path / "run", start=MODEL, progress=False)
    before = load_run(MODEL)
    assert run.tokenizer.get_vocab() == before.tokenizer.get_vocab()
    old = dict(before.model.named_parameters())
    for name, value in run.model.named_parameters():
        assert torch.equal(value, old[name]), name


def test_it_resumes_to_the_same_weights_and_refuses_another_start(benchmark, tmp_path):
    run = train(short(), [benchmark], tmp_path / "run", start=MODEL, progress=False)
    weights = run.folder / "model.safetensors"
    whole = weights.rename(tmp_path / "model.safetensors").read_bytes()
    max((run.folder / "checkpoints").iterdir()).unlink()  # as if it was cut at step 2
    train(short(), [benchmark], run.folder, start=MODEL, resume=True, progress=False)
    assert weights.read_bytes() == whole
    shutil.copy(run.folder / "tokenizer.json", tmp_path)
    with pytest.raises(InputError, match="start differs"):
        train(short(), [benchmark], run.folder, start=tmp_path, resume=True, progress=False)


def test_what_cannot_be_started_from_is_refused_in_one_line(benchmark, tmp_path):
    words = load_run(MODEL).tokenizer
    wider = replace_fields(short(), {"image.width": "0.5"})
    for preset, data, start, tokenizer, message in (
        (short(), benchmark, tmp_path, None, r"model\.safetensors: no such file"),
        (short(), benchmark, MODEL, words, "takes its vocabulary; leave yours out"),
        (wider, benchmark, MODEL, None, "weights of another preset"),
        (short(), DATA / "benchmark", MODEL, None, "no image of split 'train'"),
    ):
        out = tmp_path / "run"
        with pytest.raises(InputError, match=message):
            train(preset, [data], out, start=start, tokenizer=tokenizer, progress=False)


def test_the_command_line_fine_tunes_a_run(benchmark, tmp_path, capsys):
    common = ["train", "--data", str(benchmark), "--from", str(MODEL), "--steps", "2"]
    assert main([*common, "--out", str(tmp_path / "few")]) == 2  # 70 pairs
    assert "do not fill one batch of 128" in capsys.readouterr().err
    common += ["--set", "recipe.batch_size=32"]
    assert main([*common, "--out", str(tmp_path / "run"), "--json"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["preset"]["recipe"]["learning_rate"] == pytest.approx(1.4e-4)
    assert config["preset"]["recipe"]["batch_size"] == 32 and len(config["start"]) == 64
    capsys.readouterr()
    assert main([*common, "--preset", "toy", "--out", str(tmp_path / "other")]) == 2
    assert "--preset and --from: give only one" in capsys.readouterr().err
