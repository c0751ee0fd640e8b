"""A user's own image classifier as the first filter; ours are tiny, with random weights."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from align_edu.cli import main
from align_edu.filters import Rules, filter_pairs
from align_edu.filters import run as filter_run
from align_edu.io import InputError
from tests.benchmarks.near_duplicates import jpeg, toy_drawings
from tests.samples import pair, write_tar

SIZE = 16


def save_classifier(folder: Path, labels: list[str], seed: int = 1) -> ViTForImageClassification:
    """A small classifier with random weights, as transformers saves it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            image_size=SIZE, patch_size=4, id2label=dict(enumerate(labels)),
            initializer_range=1.0,
        )  # fmt: skip
        model = ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def pictures():
    return toy_drawings(40, 7, 64)


@pytest.fixture
def shards(tmp_path, pictures):
    members, rows, text = [], [], "a red cat on a beach"
    for i, picture in enumerate(pictures):
        for key in (str(i), f"{i} again"):
            members += pair(key, text, b"broken" if i == 3 else jpeg(picture))
            rows.append({"key": key, "caption": text, "sha256": f"s{i}"})
    write_tar(tmp_path / "raw" / "00000.tar", members)
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "raw" / "00000.parquet")
    return tmp_path / "raw"


def test_pairs_fall_by_the_classifier_s_own_probabilities(shards, pictures, tmp_path):
    model = save_classifier(tmp_path / "model", ["drawings", "hentai", "not porn", "sexy", "sfw"])
    small = [
        Image.open(io.BytesIO(jpeg(picture))).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        for picture in pictures
    ]
    pixels = torch.stack([torch.tensor(np.asarray(p)).permute(2, 0, 1) for p in small])
    with torch.no_grad():
        unsafe = model(pixel_values=pixels / 127.5 - 1).logits.softmax(1)[:, [1, 3]].sum(1)
    bound = float(unsafe.median())
    sure = [i for i, score in enumerate(unsafe.tolist()) if abs(score - bound) > 0.02 and i != 3]
    assert len(sure) > 15
    rules = Rules(max_unsafe=bound, max_images_per_text=None)
    funnel = filter_pairs(shards, tmp_path / "out", rules=rules, unsafe_model=tmp_path / "model")
    kept = set(pa.parquet.read_table(tmp_path / "out" / "pairs.parquet")["key"].to_pylist())
    assert {i for i in sure if str(i) in kept} == {i for i in sure if unsafe[i] <= bound}
    assert all((str(i) in kept) == (f"{i} again" in kept) for i in range(len(pictures)))
    assert "3" in kept  # a picture that cannot be decoded has no score
    assert funnel.steps[0].rule == "pornographic" and funnel.steps[0].applied


@pytest.mark.parametrize("second", ["first", "second"])
def test_unfinished_work_with_another_classifier_is_not_resumed(
    shards, tmp_path, monkeypatch, second
):
    def stop_before_judging(task, job, number):
        if task.__name__ == "judge":
            raise KeyboardInterrupt
        return once(task, job, number)

    def run(out: str, model: str):
        return filter_pairs(shards, tmp_path / out, rules=rules, unsafe_model=tmp_path / model)

    labels, rules, once = ["drawings", "porn"], Rules(max_images_per_text=None), filter_run._once
    save_classifier(tmp_path / "first", labels)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(filter_run, "_once", stop_before_judging)
        run("out", "first")
    save_classifier(tmp_path / second, labels, seed=2)
    resumed = run("out", second)
    assert resumed == run("new", second)
    save_classifier(tmp_path / "again", labels)
    assert run("b", "again").kept != resumed.kept  # the two classifiers disagree


def test_a_classifier_that_cannot_tell_is_refused(shards, tmp_path, capsys):
    save_classifier(tmp_path / "cats", ["cat", "dog"])
    for model, reason in (("cats", "it has cat, dog"), ("nowhere", "no such folder")):
        command = ["filter", str(shards), str(tmp_path / "out"), "--unsafe-model"]
        capsys.readouterr()
        assert main([*command, str(tmp_path / model)]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]  # transformers reports progress
        assert model in line and reason in line and not (tmp_path / "out").exists()
    table = pa.table({"caption": ["a red cat"], "url": ["x"]})
    with pytest.raises(InputError, match="unsafe images can be found only in shards"):
        filter_pairs(table, tmp_path / "out", unsafe_model=tmp_path / "cats")
    step = filter_pairs(shards, tmp_path / "out").steps[0]
    assert (step.rule, step.note) == ("pornographic", "no column nsfw or NSFW or punsafe")
