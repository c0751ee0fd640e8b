"""Full fine-tuning for classification: the crops, both stages, what is frozen, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from align_edu import World, load_run
from align_edu.evaluation import (
    FineTuning,
    LabelledImages,
    evaluate_fine_tune,
    fine_tune_table,
    read_labelled,
    train_all,
    train_head,
)
from align_edu.evaluation.fine_tune import Classifier, evaluation_crop, random_area_crop
from align_edu.io import InputError

MODEL = Path(__file__).parents[1] / "data_samples" / "toy_model"
SHORT = FineTuning(epochs=3, views=2, smallest_area=0.5)


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "weather"
    return World(seed=5).write_task(folder, "weather", train=100, val=0, test=60)


def some(data: LabelledImages) -> LabelledImages:
    """Every fifth picture."""
    labels = data.labels[::5]
    return LabelledImages("some", data.classes, labels, lambda i: data.open(5 * i))


def ramp(width: int, height: int) -> Image.Image:
    """Red is the column, green the row, so that a crop tells where it was cut."""
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8))


def test_random_crops_have_the_areas_and_aspects_of_szegedy() -> None:
    generator = torch.Generator().manual_seed(1)
    areas, aspects = [], []
    for _ in range(2_000):
        crop = random_area_crop(ramp(200, 200), 60, generator).double()
        # The centres of the first and the last pixel lie 59/60 of a side apart.
        width = (crop[0, 30, -8] - crop[0, 30, 8]).item() * 60 / 44
        height = (crop[1, -8, 30] - crop[1, 8, 30]).item() * 60 / 44
        areas.append(width * height / 200**2)
        aspects.append(width / height)
    assert 0.06 < min(areas) < 0.12 and 0.9 < max(areas) < 1.05
    assert 0.70 < min(aspects) < 0.80 and 1.25 < max(aspects) < 1.42
    # Uniform in area, but the largest rarely fit at a skewed aspect: a little under the mean.
    assert 0.44 < np.mean(areas) < 0.55 and abs(np.mean(np.log(aspects))) < 0.02


def test_a_picture_that_no_aspect_fits_is_taken_whole() -> None:
    crop = random_area_crop(ramp(250, 4), 48, torch.Generator().manual_seed(0), 0.9)
    assert crop[0, 24, 0] < 5 and crop[0, 24, -1] > 244


def test_the_evaluation_crop_is_the_middle_at_five_quarters_of_the_training_side() -> None:
    crop = evaluation_crop(ramp(160, 240), 48)
    assert crop.shape == (3, 60, 60)  # 48 / 0.8
    # 0.875 of 160 from 10 to 150, of 240 from 15 to 225; half an output pixel inside.
    assert crop[0, 30, 0].item() == pytest.approx(10 + 140 / 120, abs=2)
    assert crop[0, 30, -1].item() == pytest.approx(150 - 140 / 120, abs=2)
    assert crop[1, 0, 30].item() == pytest.approx(15 + 210 / 120, abs=3)
    assert crop[1, -1, 30].item() == pytest.approx(225 - 210 / 120, abs=3)


def test_all_layers_move_but_batch_norms_statistics_and_the_run_stay(weather: Path) -> None:
    run, train = load_run(MODEL), read_labelled(weather, "train")
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    head = train_head(run, train, SHORT)
    assert all(
        torch.equal(value, before[f"image_tower.{name}"])
        for name, value in head.tower.state_dict().items()
    )
    model = train_all(head, train, SHORT)
    moved: list[bool] = []
    for name, value in model.tower.state_dict().items():
        same = torch.equal(value, before[f"image_tower.{name}"])
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert same, name
        else:
            moved.append(not same)
    assert sum(moved) > 0.9 * len(moved)  # a unit that is never active has no gradient
    assert not torch.equal(model.weight, head.weight) and torch.equal(model.mean, head.mean)
    after = run.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_tower_learns_at_a_tenth_of_the_classifiers_rate(
    weather: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []
    step = torch.optim.SGD.step

    def watched(self: torch.optim.SGD, *args: object) -> object:
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args)

    train = read_labelled(weather, "train")
    head = train_head(load_run(MODEL), some(train), SHORT)
    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    few = LabelledImages("few", train.classes, train.labels[:4], train.open)
    train_all(head, few, FineTuning(epochs=10))
    by_epoch = np.array(seen)  # four pictures are one step
    falls = [1, 1, 1, 0.2, 0.2, 0.2, 0.04, 0.04, 0.04, 0.008]  # paper: to 0.2 after 30, 60, 90 %
    np.testing.assert_allclose(by_epoch[:, 0], 0.01 * np.array(falls), rtol=1e-12)
    np.testing.assert_allclose(by_epoch[:, 1], 0.001 * np.array(falls), rtol=1e-12)


def test_the_same_seed_gives_the_same_classifier_whatever_the_global_seed(weather: Path) -> None:
    def trained(seed: int, other: int) -> Classifier:
        torch.manual_seed(other)
        train = some(read_labelled(weather, "train"))
        return train_all(
            train_head(load_run(MODEL), train, SHORT, seed=seed), train, SHORT, seed=seed
        )

    one, two = trained(0, 1), trained(0, 2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.weight, trained(1, 1).weight)


def test_a_fine_tuned_tower_is_measured_with_its_frozen_stage(weather: Path) -> None:
    result = evaluate_fine_tune(load_run(MODEL), weather, epochs=SHORT.epochs)
    assert result["accuracy"] > 0.5 and result["frozen"] > 0.5  # chance is 0.2
    assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    assert (result["train"], result["test"], result["classes"]) == (100, 60, 5)
    assert "3 epochs of 100 pictures" in fine_tune_table(result)


def test_the_second_stage_lowers_the_loss_on_fresh_crops(weather: Path) -> None:
    train = read_labelled(weather, "train")
    settings = FineTuning(epochs=10, views=2)
    head = train_head(load_run(MODEL), train, settings)
    generator = torch.Generator().manual_seed(77)  # crops that neither stage has seen
    crops = [
        random_area_crop(train.open(i), 48, generator, settings.smallest_area)
        for i in range(len(train))
        for _ in range(3)
    ]
    pixels, labels = torch.stack(crops).float() / 127.5 - 1, train.labels.repeat_interleave(3)
    losses = []
    for model in (head, train_all(head, train, settings)):
        with torch.no_grad():
            losses.append(torch.nn.functional.cross_entropy(model(pixels), labels).item())
    assert losses[1] < 0.95 * losses[0]


def test_labels_without_meaning_are_learned_no_better_than_chance(weather: Path) -> None:
    run, train, test = load_run(MODEL), read_labelled(weather, "train"), read_labelled(weather)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(5, (len(train),), generator=generator)
    blind = LabelledImages("blind", train.classes, drawn, train.open)
    model = train_all(train_head(run, blind, SHORT), blind, SHORT)
    own = torch.randint(5, (len(test),), generator=generator)
    right = (model.predict(test) == own).double().mean().item()
    assert abs(right - 0.2) < 4 * (0.2 * 0.8 / len(test)) ** 0.5


def test_one_class_and_broken_pictures_are_refused_in_one_line(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / split / "cat" / "1.png")
    with pytest.raises(InputError, match="at least two classes"):
        evaluate_fine_tune(load_run(MODEL), tmp_path)
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"cat/1\.png: not a readable image"):
        evaluate_fine_tune(load_run(MODEL), tmp_path)
