"""read_split: Karpathy's JSON in its toy, COCO and Flickr30K forms."""

import json
from pathlib import Path

import pytest

from align_edu.io import InputError
from align_edu.pairs import read_split


def entry(name: str, split: str = "test", raws: tuple = ("a cat",), **more: object) -> dict:
    return {"filename": name, "split": split, "sentences": [{"raw": raw} for raw in raws], **more}


def benchmark(folder: Path, entries: object, images: list[str] = (), name: str = "toy") -> Path:
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(b"")
    whole = json.dumps({"images": entries, "dataset": name})
    (folder / f"dataset_{name}.json").write_text(whole, encoding="utf-8-sig")
    return folder


def test_texts_follow_their_images_and_point_back_at_them(tmp_path):
    strange = [{"raw": None, "tokens": ["the", "cat"]}, {"tokens": ["dogs"]}, {"raw": "a \ud83d"}]
    entries = [
        entry("1.jpg", raws=("a red cat",)) | {"sentences": [{"raw": "a red cat"}, *strange]},
        entry("9.jpg", split="train"),
        entry("2.jpg", raws=("a dog", " blue dog "), held_out=True),
    ]
    read = read_split(benchmark(tmp_path, entries, ["images/1.jpg", "images/2.jpg"]))
    assert read.images == [tmp_path / "images" / "1.jpg", tmp_path / "images" / "2.jpg"]
    assert read.texts == ["a red cat", "the cat", "dogs", "a \ufffd", "a dog", "blue dog"]
    assert read.text_to_image == [0, 0, 0, 0, 1, 1] and read.held_out == [False, True]


@pytest.mark.parametrize(
    "place", ["images/1.jpg", "1.jpg", "val2014/1.jpg", "images/val2014/1.jpg"]
)
def test_images_lie_where_coco_flickr_and_the_toy_world_put_them(tmp_path, place):
    entries = [entry("1.jpg", split="restval", filepath="val2014"), entry("0.jpg")]
    folder = benchmark(tmp_path, entries, [place], "coco")
    for path in (folder, folder / "dataset_coco.json"):
        assert read_split(path, "restval").images == [folder / place]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("1.jpg"), entry("2.jpg")], "1 of 2 images are missing"),
        ([entry("1.jpg", raws=())], "no sentences"),
        ([entry("1.jpg", raws=("a cat", " "))], "no sentences or an empty one"),
        ([{"filename": "1.jpg", "split": "test"}], "no sentences"),
        ([entry("1.jpg") | {"sentences": ["a cat"]}], "no sentences"),
        ([{"split": "test", "sentences": []}], "without `filename`"),
        ([entry("../../1.jpg")], "outside the benchmark"),
        ([entry("/etc/hostname")], "outside the benchmark"),
        ([entry("1.jpg", split="val"), entry("2.jpg", split="train")], "train, val"),
        ([], "no image of split 'test'"),
        (["1.jpg"], "list `images` of objects"),
        (None, "list `images` of objects"),
    ],
)
def test_a_faulty_benchmark_is_described(tmp_path, entries, message):
    with pytest.raises(InputError, match=message):
        read_split(benchmark(tmp_path, entries, ["1.jpg"]))


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "found 0"), ({"a": "{"}, "not readable JSON"), ({"a": "{}", "b": "{}"}, "found 2")],
)
def test_a_missing_or_broken_json_is_reported(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / f"dataset_{name}.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path)
    with pytest.raises(InputError, match="no such benchmark"):
        read_split(tmp_path / "absent")
