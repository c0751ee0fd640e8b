"""Filters of pictures: near-duplicates of evaluation images, and what a classifier finds unsafe."""

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
from align_edu.filters import image as image_filter
from align_edu.filters import run as filter_run
from tests.benchmarks.near_duplicates import bits_between, jpeg, toy_drawings
from tests.samples import POINTER, pair, refused, write_files, write_tar

MOST_BITS = Rules().max_distance or 0
TEXT = "a red cat on a beach"
SIZE = 16


def test_different_images_are_not_taken_for_duplicates():
    between = bits_between(toy_drawings(210, 11, 58))
    assert len(between) > 20_000 and (between <= MOST_BITS).mean() <= 1e-4


def test_the_distance_is_the_smallest_number_of_different_bits():
    rng = np.random.default_rng(0)
    hashes, others = (rng.integers(0, 256, (n, 32), np.uint8) for n in (20, 30))
    pairs = [[zip(one, two) for two in others.tolist()] for one in hashes.tolist()]
    expected = [min(sum((a ^ b).bit_count() for a, b in each) for each in row) for row in pairs]
    assert image_filter.nearest_distance(hashes, others).tolist() == expected


def test_hashing_on_two_processes_gives_the_same_as_on_one_and_marks_the_unreadable(tmp_path):
    for i, image in enumerate(toy_drawings(3, 5, 58)):
        (tmp_path / f"{i}.jpg").write_bytes(b"broken" if i == 1 else jpeg(image))
    files = [tmp_path / f"{i % 3}.jpg" for i in range(600)]
    places = [(file, 0, file.stat().st_size) for file in files]
    one, two = (image_filter.hash_images(places, workers) for workers in (1, 2))
    assert all(map(np.array_equal, one, two)) and one[1] == "not an image"


@pytest.fixture
def evaluation(tmp_path):
    """One image. In raw/ beside it, pair 1 is a small copy of it, as is pair 2 by its sha256."""
    test_image, other = toy_drawings(2, 21, 128)
    copy = jpeg(test_image.resize((58, 58)), 80)
    images = {"0": jpeg(other.resize((58, 58))), "1": copy, "2": copy, "3": b"broken"}
    hashes = {"0": "zero", "1": "copy", "2": "copy", "3": "three", "4": "absent"}
    write_raw(tmp_path, images, hashes)
    return write_files(tmp_path / "evaluation", {"class/a.jpg": jpeg(test_image)})


def write_raw(folder: Path, images: dict[str, bytes], hashes: dict[str, str]) -> Path:
    """Write a shard of pictures with one text, and the table of its pairs."""
    members = [member for key, data in images.items() for member in pair(key, TEXT, data)]
    write_tar(folder / "raw" / "00000.tar", members)
    rows = [{"key": key, "caption": TEXT, "sha256": sha256} for key, sha256 in hashes.items()]
    pa.parquet.write_table(pa.Table.from_pylist(rows), folder / "raw" / "00000.parquet")
    return folder / "raw"


@pytest.mark.parametrize("source", ["raw", "raw/00000.parquet", "once"])
def test_the_filter_drops_all_pairs_of_a_near_duplicate(tmp_path, evaluation, source):
    if source == "once":  # a filter's output can be filtered again
        filter_pairs(tmp_path / "raw", tmp_path / "once")
    funnel = filter_pairs(tmp_path / source, tmp_path / "kept", against=[evaluation])
    step = next(step for step in funnel.steps if step.rule == "near_duplicate")
    assert (step.applied, step.dropped) == (True, 2)
    assert funnel.source == ("../raw/00000.tar" if source.endswith("parquet") else "../raw")
    assert step.note == "2 pairs without a readable image not checked"
    kept = pa.parquet.read_table(tmp_path / "kept" / "pairs.parquet")
    assert kept["key"].to_pylist() == ["0", "3", "4"]


def test_flat_pictures_have_no_hash_and_are_counted(tmp_path, evaluation, capsys):
    white, noisy = Image.new("RGB", (300, 200), "white"), Image.new("L", (90, 90), 200)
    noisy.putpixel((40, 40), 195)  # hardly visible
    (evaluation / "white.jpg").write_bytes(jpeg(white))
    flat = {"a": white.resize((80, 80)), "b": Image.new("RGB", (99, 99), "navy"), "c": noisy}
    one = jpeg(toy_drawings(1, 21, 128)[0], 60)  # the other evaluation image
    files = {key: jpeg(image) for key, image in flat.items()} | {"d": one, "e": b"broken"}
    pairs = (pair(key, f"a red cat on {key}", data) for key, data in files.items())
    write_tar(tmp_path / "flat.tar", sum(pairs, []))
    command = ["filter", str(tmp_path / "flat.tar"), str(tmp_path / "out")]
    assert main([*command, "--against", str(evaluation)]) == 0
    note = (
        "1 pairs without a readable image not checked, 3 pairs with a flat image not checked, "
        "1 flat evaluation images not looked for"
    )
    assert note in capsys.readouterr().out
    assert pa.parquet.read_table(tmp_path / "out/pairs.parquet")["key"].to_pylist() == list("abce")
    (evaluation / "class" / "a.jpg").unlink()
    assert main([*command, "--against", str(evaluation)]) == 0  # only the white one is left
    assert pa.parquet.read_table(tmp_path / "out/pairs.parquet").num_rows == 5


def test_an_evaluation_set_is_a_folder_of_images_or_a_benchmark_s_test_split(tmp_path):
    for path, message in ((tmp_path, "no image"), (tmp_path / "no", "no such evaluation set")):
        refused(message, image_filter.evaluation_images, path)
    for content, message in ((b"broken", "cannot be decoded"), (POINTER, "`git lfs pull`")):
        (tmp_path / "bad.jpg").write_bytes(content)
        refused(rf"bad\.jpg: .*{message}", image_filter.evaluation_hashes, [tmp_path])
    (tmp_path / "bad.jpg").unlink()
    write_files(tmp_path, dict.fromkeys(("b/2.PNG", "a/1.jpg", "a/notes.txt"), b""))
    assert image_filter.evaluation_images(tmp_path) == [tmp_path / "a/1.jpg", tmp_path / "b/2.PNG"]
    entry = '{"filename": "1.jpg", "filepath": "a", "split": "test", "sentences": [{"raw": "x"}]}'
    (tmp_path / "dataset_x.json").write_text(f'{{"images": [{entry}]}}')
    assert image_filter.evaluation_images(tmp_path) == [tmp_path / "a/1.jpg"]


def save_classifier(folder: Path, labels: list[str], seed: int = 1) -> ViTForImageClassification:
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
    keys = {key: i for i in range(len(pictures)) for key in (str(i), f"{i} again")}
    images = {key: b"broken" if i == 3 else jpeg(pictures[i]) for key, i in keys.items()}
    return write_raw(tmp_path, images, {key: f"s{i}" for key, i in keys.items()})


def test_pairs_fall_by_the_classifier_s_own_probabilities(shards, pictures, tmp_path):
    model = save_classifier(tmp_path / "model", ["drawings", "hentai", "not porn", "sexy", "sfw"])
    whole = [Image.open(io.BytesIO(jpeg(picture))) for picture in pictures]
    small = [np.asarray(p.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for p in whole]
    pixels = torch.tensor(np.stack(small)).permute(0, 3, 1, 2)
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


def test_work_with_another_classifier_is_not_resumed(shards, tmp_path, monkeypatch):
    def stop_before_judging(task, job, number):
        if task.__name__ == "judge":
            raise KeyboardInterrupt
        return once(task, job, number)

    def run(out: str):
        return filter_pairs(shards, tmp_path / out, rules=rules, unsafe_model=tmp_path / "model")

    labels, rules, once = ["drawings", "porn"], Rules(max_images_per_text=None), filter_run._once
    save_classifier(tmp_path / "model", labels)
    before = run("whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(filter_run, "_once", stop_before_judging)
        run("out")
    save_classifier(tmp_path / "model", labels, seed=2)  # other weights in the same folder
    resumed = run("out")
    assert resumed == run("new") and resumed.kept != before.kept


def test_a_classifier_that_cannot_tell_is_refused(shards, tmp_path, capsys):
    save_classifier(tmp_path / "cats", ["cat", "dog"])
    for model, reason in (("cats", "it has cat, dog"), ("nowhere", "no such folder")):
        command = ["filter", str(shards), str(tmp_path / "out"), "--unsafe-model"]
        capsys.readouterr()
        assert main([*command, str(tmp_path / model)]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]  # transformers reports progress
        assert model in line and reason in line and not (tmp_path / "out").exists()
    given, only = (pa.table({"caption": ["a red cat"]}), tmp_path), "can be found only in shards"
    refused(f"unsafe images {only}", filter_pairs, *given, unsafe_model=tmp_path / "cats")
    refused(f"near-duplicates {only}", filter_pairs, *given, against=[tmp_path])
    step = filter_pairs(shards, tmp_path / "out").steps[0]
    assert (step.rule, step.note) == ("pornographic", "no column nsfw or NSFW or punsafe")
