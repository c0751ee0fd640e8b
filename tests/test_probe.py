"""The linear probe and few-shot transfer: as scikit-learn's, honest at chance, clear when wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from align_edu import Align, World, load_run
from align_edu.evaluation import (
    evaluate_few_shot,
    evaluate_probe,
    few_shot,
    few_shot_table,
    probe_table,
    read_labelled,
)
from align_edu.evaluation.few_shot import PROBE_SWEEP, choose_settings, joined, probe_learner
from align_edu.evaluation.probe import train_probe
from align_edu.io import InputError
from align_edu.training import Run

MODEL = Path(__file__).parents[1] / "data_samples" / "toy_model"


def overlapping(classes: int, rows: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Classes around centres of their own, with unequal scales, that no layer can part wholly."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (rows,), generator=generator)
    spread = torch.linspace(0.5, 3.0, width)
    x = (centres[labels] + 2.0 * torch.randn(rows, width, generator=generator)) * spread + 4.0
    return x, labels


@pytest.mark.parametrize(("classes", "width"), [(2, 6), (5, 12), (10, 30)])
def test_the_probe_is_as_good_as_scikit_learns_logistic_regression(
    classes: int, width: int
) -> None:
    x, labels = overlapping(classes, 4_000, width, seed=1)
    test, own = overlapping(classes, 8_000, width, seed=2)
    probe = train_probe(x, labels, classes, epochs=30)
    theirs = LogisticRegression(C=1e6, max_iter=3_000).fit(x.numpy(), labels.numpy())
    ours = (probe.predict(test) == own).double().mean().item()
    assert ours == pytest.approx(theirs.score(test.numpy(), own.numpy()), abs=0.005)
    assert 1.5 / classes < ours < 0.95  # there was something to learn, and something to miss


def test_the_same_seed_gives_the_same_probe_and_scale_does_not_matter() -> None:
    x, labels = overlapping(3, 200, 5, seed=3)
    one, two = train_probe(x, labels, 3), train_probe(x, labels, 3)
    assert torch.equal(one.weight, two.weight)
    larger = train_probe(1_000 * x + 7, labels, 3)
    assert (larger.predict(1_000 * x + 7) == one.predict(x)).double().mean() > 0.98
    assert not torch.equal(one.weight, train_probe(x, labels, 3, seed=1).weight)


def test_random_features_are_at_chance() -> None:
    generator = torch.Generator().manual_seed(4)
    x, test = torch.randn(600, 20, generator=generator), torch.randn(2_000, 20, generator=generator)
    labels, own = torch.arange(600) % 4, torch.arange(2_000) % 4
    right = train_probe(x, labels, 4, epochs=10).predict(test) == own
    assert abs(right.double().mean() - 0.25) < 4 * (0.25 * 0.75 / 2_000) ** 0.5


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="at least two classes"):
        train_probe(torch.randn(5, 3), torch.zeros(5).long(), 2)


def test_the_sweep_takes_the_best_on_held_back_pictures_and_the_first_of_equals() -> None:
    x, labels = overlapping(3, 120, 6, seed=5)
    val, own = overlapping(3, 60, 6, seed=6)

    def learn(known: Sequence[str], asked: str, settings: Mapping[str, float], seed: int) -> Tensor:
        assert (tuple(known), asked, seed) == (("train",), "val", 0)
        return train_probe(x, labels, 3, **settings).predict(val)

    chosen, tried = choose_settings(learn, own, PROBE_SWEEP)
    assert len(tried) == 9
    best = max(settings["accuracy"] for settings in tried)
    first = next(settings for settings in tried if settings["accuracy"] == best)
    assert chosen == {name: first[name] for name in ("learning_rate", "weight_decay")}


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "weather"
    return World(seed=5).write_task(folder, "weather", train=120, val=40, test=100)


def test_a_trained_tower_transfers_and_a_random_one_does_not_come_near(tmp_path: Path) -> None:
    run = load_run(MODEL)
    task = World(seed=5).write_task(tmp_path / "t", "colour", train=120, val=0, test=100)
    trained = evaluate_probe(run, task)
    new = Align(run.preset, run.tokenizer.get_vocab_size(), seed=0)
    random = evaluate_probe(Run(MODEL, run.preset, run.tokenizer, new.eval()), task)
    assert trained["accuracy"] > 0.7 and trained["interval"][0] > random["interval"][1]
    assert (trained["train"], trained["test"], trained["classes"]) == (120, 100, 12)
    assert trained["chance"] == 0.09 and "120 pictures" in probe_table(trained)


def test_few_shot_reports_three_runs_and_the_settings_it_chose(weather: Path) -> None:
    result = evaluate_few_shot(load_run(MODEL), weather)
    assert len(result["runs"]) == 3 and len(result["sweep"]) == 9
    assert result["mean"] == pytest.approx(sum(result["runs"]) / 3) and result["mean"] > 0.7
    assert result["chosen"]["learning_rate"] in PROBE_SWEEP["learning_rate"]
    assert "best of 9" in few_shot_table(result) and "frozen" in few_shot_table(result)


def test_few_shot_can_train_all_layers(weather: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_shot, "TUNING_SWEEP", {"learning_rate": (1e-9, 0.01)})
    monkeypatch.setattr(few_shot, "RUNS", 2)
    run = load_run(MODEL)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    result = evaluate_few_shot(run, weather, epochs=1)
    assert len(result["sweep"]) == len(result["runs"]) == 2 and result["mean"] > 0.5
    assert "all layers, 1 epochs" in few_shot_table(result)
    assert all(torch.equal(before[name], value) for name, value in run.model.state_dict().items())
    with pytest.raises(InputError, match="epochs 0"):
        evaluate_few_shot(run, weather, epochs=0)


def test_the_learners_train_on_the_splits_they_are_given(weather: Path) -> None:
    train, val = read_labelled(weather, "train"), read_labelled(weather, "val")
    both = joined([train, val])
    assert len(both) == 160 and both.open(0) == train.open(0) and both.open(120) == val.open(0)
    assert torch.equal(both.labels, torch.cat([train.labels, val.labels]))
    learn = probe_learner(load_run(MODEL), {"train": train, "val": val})
    settings = {"learning_rate": 0.1, "weight_decay": 0.0}
    own = (learn(("val",), "val", settings, 0) == val.labels).double().mean()
    other = (learn(("train",), "val", settings, 0) == val.labels).double().mean()
    assert own == 1 >= other


def test_what_does_not_fit_together_is_refused_in_one_line(tmp_path: Path) -> None:
    run = load_run(MODEL)
    folder = World(seed=5).write_task(tmp_path / "size", "size", train=6, val=0, test=6)
    with pytest.raises(InputError, match="no split 'val'"):
        evaluate_few_shot(run, folder)
    for file in (folder / "train" / "large").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="class 'large' of test has no training picture"):
        evaluate_probe(run, folder)
