"""Labelled pictures: class folders, known data sets on disk, the toy world's own tasks."""

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from align_edu import World
from align_edu.cli import main
from align_edu.evaluation import read_labelled
from align_edu.io import InputError
from align_edu.world import tasks
from align_edu.world.scene import child_rng, is_held_out
from align_edu.world.tasks import TASKS
from tests.samples import DATA


def picture(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


def test_folders_give_classes_in_order_and_words(tmp_path):
    for name in ("b_two", "a"):
        picture(tmp_path / "test" / name / "1.png")
    data = read_labelled(tmp_path)
    assert (data.classes, data.labels.tolist()) == (["a", "b two"], [0, 1])
    (tmp_path / "classes.txt").write_text("b_two\tthe second\na\tthe first\nc\tnot shown\n")
    (tmp_path / "templates.txt").write_text("a photo of {}\n")
    data = read_labelled(tmp_path)
    assert data.classes == ["the second", "the first", "not shown"]
    assert data.labels.tolist() == [0, 1] and data.templates == ["a photo of {}"]
    assert data.open(0).getpixel((0, 0)) == (255, 0, 0)
    picture(tmp_path / "bare" / "cat" / "1.jpg")  # without splits
    picture(tmp_path / "bare" / "dog" / "deep" / "2.PNG")
    assert len(read_labelled(tmp_path / "bare")) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no class folder"),
        (["cat/"], "no picture in its class folders"),
        (["train/cat/1.png"], "no split 'test'; it has train"),
        (["cat/1.png", ("classes.txt", "dog\tdog\n")], "does not name the class folder 'cat'"),
        (["cat/1.png", ("classes.txt", "cat cat\n")], "'cat cat': write it as folder, tab, words"),
        (["cat/1.png"], "all its pictures are of one class"),
        # a retrieval benchmark: "images" and "cxc" are no classes
        (["images/1.png", ("dataset_toy.json", "{}")], "holds captions .* --task retrieval"),
        ([os.fsdecode(b"caf\xe9/1.png")], "not UTF-8 text; rename it"),
        (["cat/1.png", ("templates.txt", "a cat\n")], "'a cat' is no template; write one"),
        (["cat/1.png", ("templates.txt", "# none\n")], "no template in it; write one"),
        ([("cat/1.jpg", "no picture"), "dog/1.png"], r"cat/1\.jpg: not a readable image"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(tmp_path, files, message):
    for file in files:
        if isinstance(file, tuple):
            (tmp_path / file[0]).parent.mkdir(exist_ok=True)
            (tmp_path / file[0]).write_text(file[1])
        elif file.endswith("/"):
            (tmp_path / file).mkdir()
        else:
            picture(tmp_path / file)
    with pytest.raises(InputError, match=message):
        read_labelled(tmp_path).open(0)


def test_cifars_binary_version_is_read_plane_by_plane(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    red = np.zeros((3, 32, 32), np.uint8)
    red[0, 2, 5] = 255  # row 2, column 5
    (folder / "test_batch.bin").write_bytes(bytes([7]) + red.tobytes() + bytes([1]) + bytes(3072))
    (folder / "batches.meta.txt").write_text("\n".join(f"name {i}" for i in range(10)) + "\n\n")
    data = read_labelled(f"cifar10:{tmp_path}")
    assert data.labels.tolist() == [7, 1] and data.classes[7] == "name 7"
    assert data.open(0).getpixel((5, 2)) == (255, 0, 0)
    (folder / "test_batch.bin").write_bytes(bytes(100))
    with pytest.raises(InputError, match="not a whole number of pictures"):
        read_labelled(f"cifar10:{tmp_path}")


def test_oxford_pets_are_read_where_torchvision_expects_them(tmp_path):
    home = tmp_path / "oxford-iiit-pet"
    for name in ("Abyssinian_1", "beagle_2"):
        picture(home / "images" / f"{name}.jpg", "white")
    (home / "annotations").mkdir()
    lines = "Abyssinian_1 1 1 1\nbeagle_2 2 2 1\n"
    for split in ("trainval", "test"):
        (home / "annotations" / f"{split}.txt").write_text(lines)
    data = read_labelled(f"oxford_pets:{tmp_path}")
    assert data.classes == ["Abyssinian", "Beagle"] and data.labels.tolist() == [0, 1]
    assert data.open(1).size == (8, 8)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "flowers102", "oxford_pets", "food101"])
def test_a_data_set_that_is_absent_is_named_with_its_home(tmp_path, name):
    for path, split, message in (
        (f"{name}:{tmp_path}", "test", rf"no {name} in it; get it from https://"),
        (f"{name}:{tmp_path}", "all", "no split 'all'"),
        ("mnist:/data", "test", "choose cifar10"),
    ):
        with pytest.raises(InputError, match=message):
            read_labelled(path, split)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_toy_task_has_equal_classes_and_no_picture_twice(tmp_path, task):
    classes = len(TASKS[task].classes)
    folder = World(seed=1).write_task(
        tmp_path / task, task, train=classes, val=0, test=classes + 1, image_size=64
    )
    test = read_labelled(folder, "test")
    assert sorted(Counter(test.labels.tolist()).values()) == [1] * (classes - 1) + [2]
    assert len(test.templates) == len(set(test.templates)) >= 2
    seen = [hashlib.sha256(f.read_bytes()).digest() for f in folder.glob("*/*/*.jpg")]
    assert len(seen) == len(set(seen)) == 2 * classes + 1


def test_held_out_pictures_show_unseen_compositions_only():
    for held_out in (False, True):
        for value in tasks._values("colour", held_out):
            scene = tasks._scene("colour", value, child_rng(0, 9, 1), held_out)
            assert is_held_out(scene) == held_out and scene.thing.colour == value
            assert scene.other is None


def test_the_command_line_writes_a_task_and_measures_it(tmp_path, capsys):
    out, run = tmp_path / "style", tmp_path / "run"
    assert main(["world", str(out), "--task", "style", "--pairs", "30", "--seed", "4"]) == 0
    counts = [len(list(out.glob(f"{split}/*/*.jpg"))) for split in ("train", "val", "test")]
    assert counts == [800, 200, 30]
    shutil.copytree(DATA / "toy_model", run)
    for task in ("zero-shot", "neighbours"):
        command = ["evaluate", str(run), "--benchmark", str(out), "--task", task]
        assert main([*command, "--name", "style"]) == 0
        record = json.loads((run / "results" / f"{task}-style.json").read_text())
        assert record["task"] == task and record["protocol"] == 1
        assert record["data"]["name"] == "style" and len(record["run"]["sha256"]) == 64
