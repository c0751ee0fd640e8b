"""read_split: Karpathy's JSON in its toy, COCO and Flickr30K forms."""

import json
from pathlib import Path

import pytest

from align_edu.io import InputError
from align_edu.pairs import read_split


def entry(
    name: str, split: str = "test", raws: tuple[str, ...] = ("a cat",), **more: object
) -> dict:
    return {"filename": name, "split": split, "sentences": [{"raw": raw} for raw in raws], **more}


def benchmark(folder: Path, entries: list[dict], images: list[str], name: str = "toy") -> Path:
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(b"")
    (folder / f"dataset_{name}.json").write_text(json.dumps({"images": entries, "dataset": name}))
    return folder


def test_texts_follow_their_images_and_point_back_at_them(tmp_path: Path) -> None:
    entries = [
        entry("1.jpg", raws=("a red cat", "the cat")),
        entry("9.jpg", split="train"),
        entry("2.jpg", raws=("a dog", " blue dog ", "dog"), held_out=True),
    ]
    read = read_split(benchmark(tmp_path, entries, ["images/1.jpg", "images/2.jpg"]))
    assert read.images == [tmp_path / "images" / "1.jpg", tmp_path / "images" / "2.jpg"]
    assert read.texts == ["a red cat", "the cat", "a dog", "blue dog", "dog"]
    assert read.text_to_image == [0, 0, 1, 1, 1]
    assert read.held_out == [False, True]


def test_coco_images_lie_in_the_folder_that_filepath_names(tmp_path: Path) -> None:
    entries = [
        entry("COCO_val2014_1.jpg", filepath="val2014", cocoid=1),
        entry("COCO_train2014_2.jpg", split="restval", filepath="train2014", cocoid=2),
    ]
    images = ["val2014/COCO_val2014_1.jpg", "images/train2014/COCO_train2014_2.jpg"]
    folder = benchmark(tmp_path, entries, images, "coco")
    assert read_split(folder).images == [folder / images[0]]
    assert read_split(folder, "restval").images == [folder / images[1]]


def test_flickr_images_may_lie_beside_the_json_which_may_be_named_itself(tmp_path: Path) -> None:
    folder = benchmark(tmp_path, [entry("1.jpg", split="val")], ["1.jpg"], "flickr30k")
    assert read_split(folder / "dataset_flickr30k.json", "val").images == [folder / "1.jpg"]


@pytest.mark.parametrize(
    ("entries", "images", "message"),
    [
        ([entry("1.jpg"), entry("2.jpg")], ["images/1.jpg"], "1 of 2 images are missing"),
        ([entry("1.jpg", raws=())], ["1.jpg"], "no sentences"),
        ([entry("1.jpg", raws=("a cat", " "))], ["1.jpg"], "no sentences or an empty one"),
        ([{"filename": "1.jpg", "split": "test"}], ["1.jpg"], "no sentences"),
        ([{"split": "test", "sentences": []}], [], "without `filename`"),
        ([entry("../../1.jpg")], [], "outside the benchmark"),
        ([entry("/etc/hostname")], [], "outside the benchmark"),
        ([entry("1.jpg", split="val"), entry("2.jpg", split="train")], [], "train, val"),
        ([], [], "no image of split 'test'"),
        (["1.jpg"], [], "list of objects"),
    ],
)
def test_a_faulty_benchmark_tells_its_fault(tmp_path: Path, entries, images, message: str) -> None:
    benchmark(tmp_path, entries, images)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path)


def test_missing_or_broken_json_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such benchmark"):
        read_split(tmp_path / "absent")
    with pytest.raises(InputError, match="found 0"):
        read_split(tmp_path)
    (tmp_path / "dataset_a.json").write_text("{")
    with pytest.raises(InputError, match="broken JSON"):
        read_split(tmp_path)
    (tmp_path / "dataset_a.json").write_text("[]")
    with pytest.raises(InputError, match="Karpathy's form"):
        read_split(tmp_path)
    (tmp_path / "dataset_b.json").write_text("{}")
    with pytest.raises(InputError, match="found 2"):
        read_split(tmp_path)
