"""Labelled pictures as people have them, and transfer to them: probe, fine-tuning and few-shot."""

import hashlib
import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from align_edu import Align, World, load_run
from align_edu import evaluation as ev
from align_edu.cli import main
from align_edu.evaluation.transfer import evaluation_crop, random_views
from align_edu.training import Run
from align_edu.world.tasks import TASKS
from tests.samples import DATA, MODEL, image_file, refused, write_files

RED = image_file("red", form="PNG")


def test_folders_give_classes_in_order_and_words(tmp_path):
    write_files(tmp_path, {"test/b_two/1.png": RED, "test/a/1.png": RED})
    data = ev.read_labelled(tmp_path)
    assert (data.classes, data.labels.tolist()) == (["a", "b two"], [0, 1])
    classes = "b_two\tthe second\na\tthe first\nc\tnot shown\n"
    write_files(tmp_path, {"classes.txt": classes, "templates.txt": "a photo of {}\n"})
    data = ev.read_labelled(tmp_path)
    assert data.classes == ["the second", "the first", "not shown"]
    assert data.labels.tolist() == [0, 1] and data.templates == ["a photo of {}"]
    assert data.open(0).getpixel((0, 0)) == (255, 0, 0)
    bare = write_files(tmp_path / "bare", {"cat/1.jpg": RED, "dog/deep/2.PNG": RED})
    assert len(ev.read_labelled(bare)) == 2  # without splits
    odd = write_files(tmp_path / "odd", {os.fsdecode(b"caf\xe9/1.png"): RED})
    refused("not UTF-8 text; rename it", ev.read_labelled, odd)


def test_cifars_binary_version_is_read_plane_by_plane(tmp_path):
    red = np.zeros((3, 32, 32), np.uint8)
    red[0, 2, 5] = 255  # row 2, column 5
    names = "\n".join(f"name {i}" for i in range(10)) + "\n\n"
    batch = bytes([7]) + red.tobytes() + bytes([1]) + bytes(3072)
    files = {"test_batch.bin": batch, "batches.meta.txt": names}
    folder = write_files(tmp_path / "cifar-10-batches-bin", files)
    data = ev.read_labelled(f"cifar10:{tmp_path}")
    assert data.labels.tolist() == [7, 1] and data.classes[7] == "name 7"
    assert data.open(0).getpixel((5, 2)) == (255, 0, 0)
    (folder / "test_batch.bin").write_bytes(bytes(100))
    refused("not a whole number of pictures", ev.read_labelled, f"cifar10:{tmp_path}")


def test_oxford_pets_are_read_where_torchvision_expects_them(tmp_path):
    files = {f"images/{name}.jpg": RED for name in ("Abyssinian_1", "beagle_2")}
    for split in ("trainval", "test"):
        files[f"annotations/{split}.txt"] = "Abyssinian_1 1 1 1\nbeagle_2 2 2 1\n"
    write_files(tmp_path / "oxford-iiit-pet", files)
    data = ev.read_labelled(f"oxford_pets:{tmp_path}")
    assert data.classes == ["Abyssinian", "Beagle"] and data.labels.tolist() == [0, 1]
    assert data.open(1).size == (8, 8)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "flowers102", "oxford_pets", "food101"])
def test_a_data_set_that_is_absent_is_named_with_its_home(tmp_path, name):
    refused(rf"no {name} in it; get it from https://", ev.read_labelled, f"{name}:{tmp_path}")
    refused("no split 'all'", ev.read_labelled, f"{name}:{tmp_path}", "all")
    refused("choose cifar10", ev.read_labelled, "mnist:/data")


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_toy_task_has_equal_classes_and_no_picture_twice(tmp_path, task):
    classes = len(TASKS[task].classes)
    sizes = {"train": classes, "val": 0, "test": classes + 1, "image_size": 64}
    folder = World(seed=1).write_task(tmp_path / task, task, **sizes)
    test = ev.read_labelled(folder, "test")
    assert sorted(Counter(test.labels.tolist()).values()) == [1] * (classes - 1) + [2]
    assert len(test.templates) == len(set(test.templates)) >= 2
    seen = [hashlib.sha256(f.read_bytes()).digest() for f in folder.glob("*/*/*.jpg")]
    assert len(seen) == len(set(seen)) == 2 * classes + 1


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


@pytest.fixture(scope="module", autouse=True)
def two_views():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ev.transfer, "VIEWS", 2)
        yield


@pytest.fixture(scope="module")
def run():
    return load_run(MODEL)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks") / "colours"
    return World(seed=5).write_task(folder, "colour", train=120, val=40, test=100)


@pytest.fixture(scope="module")
def train(colours):
    return ev.read_labelled(colours, "train")


@pytest.fixture(scope="module")
def head(run, train):
    return ev.train_head(run, train)


def some(data: ev.LabelledImages, step: int) -> ev.LabelledImages:
    labels = data.labels[::step]
    return ev.LabelledImages("some", data.classes, labels, lambda i: data.open(step * i))


def overlapping(classes: int, rows: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Classes around separate centres, with unequal scales, that no layer can part wholly."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (rows,), generator=generator)
    spread = torch.linspace(0.5, 3.0, width)
    x = (centres[labels] + 2.0 * torch.randn(rows, width, generator=generator)) * spread + 4.0
    return x, labels


@pytest.mark.parametrize(("classes", "width"), [(2, 6), (5, 12), (10, 30)])
def test_the_probe_is_as_good_as_scikit_learns_logistic_regression(classes, width):
    x, labels = overlapping(classes, 4_000, width, seed=1)
    test, test_labels = overlapping(classes, 8_000, width, seed=2)
    probe = ev.train_probe(x, labels, classes, epochs=30)
    theirs = LogisticRegression(C=1e6, max_iter=3_000).fit(x.numpy(), labels.numpy())
    ours = (probe.predict(test) == test_labels).double().mean().item()
    assert torch.equal(probe.weight, ev.train_probe(x, labels, classes, epochs=30).weight)
    assert ours == pytest.approx(theirs.score(test.numpy(), test_labels.numpy()), abs=0.005)
    assert 1.5 / classes < ours < 0.95  # there was something to learn, and something to miss


def test_a_trained_tower_transfers_and_a_random_one_does_not_come_near(run, colours):
    probe, tuned = ev.evaluate_probe(run, colours), ev.evaluate_fine_tune(run, colours, epochs=2)
    new = Align(run.preset, run.tokenizer.get_vocab_size(), seed=0)
    random = ev.evaluate_probe(Run(MODEL, run.preset, run.tokenizer, new.eval()), colours)
    assert probe["accuracy"] > 0.8 and probe["interval"][0] > random["interval"][1]
    assert tuned["accuracy"] > 0.8 and tuned["frozen"] > 0.8  # chance is 1/12
    for result in (probe, tuned):
        assert (result["train"], result["test"], result["classes"]) == (120, 100, 12)
        assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    assert "trained on 120 pictures" in ev.result_table("probe", probe)
    assert "2 epochs of 120 pictures" in ev.result_table("fine-tune", tuned)


def ramp(width: int, height: int) -> Image.Image:
    """Red is the column, green the row, so that a crop shows where it was cut."""
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8))


def test_random_views_are_parts_of_the_smallest_area_and_more_half_of_them_mirrored():
    data = ev.LabelledImages("ramp", ["a"], torch.zeros(400).long(), lambda i: ramp(200, 200))
    views = random_views(data, torch.arange(400), 60)
    red, green = ((views[:, channel] + 1) * 127.5 for channel in (0, 1))  # columns and rows
    # The centres of the first and the last pixel compared lie 44/60 of a side apart.
    width = (red[:, 30, -8] - red[:, 30, 8]) * 60 / 44
    height = (green[:, -8, 30] - green[:, 8, 30]) * 60 / 44
    areas = (width.abs() * height / 200**2).numpy()
    assert 0.3 < areas.min() < 0.4 and 0.85 < areas.max() < 1.05
    assert abs((width < 0).double().mean().item() - 0.5) < 4 * 0.5 / 400**0.5


def test_the_evaluation_crop_is_the_middle_at_five_quarters_of_the_training_side():
    crop = evaluation_crop(ramp(160, 240), 48)
    assert crop.shape == (3, 60, 60)  # 48 / 0.8
    # 0.875 of 160 from 10 to 150, of 240 from 15 to 225; half an output pixel inside.
    assert crop[0, 30, 0].item() == pytest.approx(10 + 140 / 120, abs=2)
    assert crop[0, 30, -1].item() == pytest.approx(150 - 140 / 120, abs=2)
    assert crop[1, 0, 30].item() == pytest.approx(15 + 210 / 120, abs=3)
    assert crop[1, -1, 30].item() == pytest.approx(225 - 210 / 120, abs=3)


def test_all_layers_move_but_batch_norms_statistics_and_the_run_stay(run, train, head):
    before = load_run(MODEL).model.image_tower.state_dict()
    model = ev.train_all(head, some(train, 2), epochs=3)
    for tower in (head.tower, run.model.image_tower):
        assert all(map(torch.equal, tower.state_dict().values(), before.values()))
    after = model.tower.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    kept = ("running_mean", "running_var", "num_batches_tracked")
    assert {name for name in before if name.endswith(kept)} <= same
    weights = dict(model.tower.named_parameters())
    assert len(same & set(weights)) < 0.1 * len(weights)  # a unit never active has no gradient
    assert not torch.equal(model.probe.weight, head.probe.weight)
    assert torch.equal(model.probe.mean, head.probe.mean)


def test_the_tower_learns_at_a_tenth_of_the_classifiers_rate(train, head, monkeypatch):
    seen: list[list[float]] = []
    step = torch.optim.SGD.step

    def watched(self: torch.optim.SGD, *args: object) -> object:
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    ev.train_all(head, some(train, 25))
    by_epoch = np.array(seen)  # four pictures are one step
    falls = [1, 1, 1, 0.2, 0.2, 0.2, 0.04, 0.04, 0.04, 0.008]  # paper: to 0.2 after 30, 60, 90 %
    np.testing.assert_allclose(by_epoch[:, 0], 0.01 * np.array(falls), rtol=1e-12)
    np.testing.assert_allclose(by_epoch[:, 1], 0.001 * np.array(falls), rtol=1e-12)


def test_few_shot_tests_the_best_settings_by_three_runs_on_both_training_splits(run, colours):
    result = ev.evaluate_few_shot(run, colours)
    train, val, test = (ev.read_labelled(colours, split) for split in ("train", "val", "test"))
    x, y, z = (ev.embed_labelled(run, part) for part in (train, val, test))

    def accuracy(probe: ev.Probe, vectors: Tensor, labels: Tensor) -> float:
        return (probe.predict(vectors) == labels).double().mean().item()

    rates, decays = (0.01, 0.1, 0.5), (0.0, 1e-3, 1e-2)
    tried = [{"learning_rate": rate, "weight_decay": decay} for rate in rates for decay in decays]
    shares = [row.pop("accuracy") for row in result["sweep"]]
    assert result["sweep"] == tried and len(tried) == 9
    assert shares[4] == accuracy(ev.train_probe(x, train.labels, 12, **tried[4]), y, val.labels)
    assert result["chosen"] == tried[shares.index(max(shares))]  # the first of equals
    both, labels = torch.cat([x, y]), torch.cat([train.labels, val.labels])
    last = ev.train_probe(both, labels, 12, seed=2, **result["chosen"])
    assert result["runs"][2] == accuracy(last, z, test.labels) and result["mean"] > 0.9
    assert result["sd"] == pytest.approx(np.std(result["runs"], ddof=1))
    table = ev.result_table("few-shot", result)
    assert "best of 9" in table and "frozen" in table


def test_few_shot_can_train_all_layers(run, colours, monkeypatch):
    monkeypatch.setattr(ev.zero_shot, "TUNING_SWEEP", {"learning_rate": (1e-9, 0.01)})
    monkeypatch.setattr(ev.zero_shot, "RUNS", 2)
    result = ev.evaluate_few_shot(run, colours, epochs=1)
    assert len(result["sweep"]) == len(result["runs"]) == 2 and result["mean"] > 0.8
    assert "all layers, 1 epochs" in ev.result_table("few-shot", result)


def test_data_that_do_not_fit_are_refused_in_one_line(run, tmp_path):
    folder = World(seed=5).write_task(tmp_path / "size", "size", train=6, val=0, test=6)
    for evaluate in (ev.evaluate_few_shot, ev.evaluate_fine_tune):
        refused("epochs 0", evaluate, run, folder, epochs=0)
    broken = next((folder / "train").glob("*/*.jpg"))
    broken.write_bytes(broken.read_bytes()[:99])
    refused(f"{broken.name}: not a readable image", ev.evaluate_fine_tune, run, folder)
    for file in (folder / "train" / "large").iterdir():
        file.unlink()
    refused("class 'large' of test has no training picture", ev.evaluate_probe, run, folder)
    refused("at least two classes", ev.train_probe, torch.randn(5, 3), torch.zeros(5).long(), 2)
