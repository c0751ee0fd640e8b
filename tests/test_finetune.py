"""Full fine-tuning for classification: the head's start, the recipe, and that it is repeatable."""

from pathlib import Path

import pytest
import torch
from torch import nn

from align_edu import World, load_run
from align_edu.errors import InputError
from align_edu.evaluation import evaluate_fine_tuning, fine_tuning_table
from align_edu.evaluation import finetune as module
from align_edu.evaluation.finetune import random_resized_crops, sizes_of
from align_edu.evaluation.labelled import read_labelled
from align_edu.evaluation.probe import train_probe
from align_edu.training import Run

MODEL = Path(__file__).parents[1] / "data_samples" / "toy_model"


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "style"
    return World(seed=8).write_task(folder, "style", train=96, val=0, test=90, image_size=69)


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(MODEL)


@pytest.mark.parametrize(("training", "evaluation"), [(289, 361), (475, 594), (48, 60)])
def test_training_is_at_four_fifths_of_the_resolution_of_evaluation(
    training: int, evaluation: int
) -> None:
    sizes = sizes_of(training)  # the paper rounds to 360 and 600
    assert (sizes.evaluation, sizes.training) == (evaluation, training)
    assert sizes.evaluation / sizes.picture == pytest.approx(0.875, abs=0.01)


def test_crops_show_parts_of_the_picture_of_many_sizes_and_flip_half_of_them() -> None:
    side = 64
    ramp = torch.arange(side, dtype=torch.uint8).expand(3, side, side)  # brighter to the right
    crops = random_resized_crops(ramp.expand(400, -1, -1, -1), 32, torch.Generator().manual_seed(0))
    left, right = crops[:, 0, 16, 0].float(), crops[:, 0, 16, -1].float()
    assert abs((left > right).float().mean() - 0.5) < 0.1
    widths = (left - right).abs()
    assert widths.min() > 0.4 * side * module.LEAST_AREA**0.5 and widths.max() > 0.9 * side
    assert widths.std() > 3


def test_the_first_stage_is_the_linear_probe_on_the_towers_own_features(
    run: Run, style: Path
) -> None:
    train, sizes = read_labelled(style, "train"), sizes_of(48)
    pictures = module._decode(train, sizes.picture, progress=False)
    classifier = module._start(run, pictures, train, sizes, seed=0)
    features = module._features(classifier[0], pictures, sizes.evaluation)
    probe = train_probe(features, train.labels, 3, seed=0)
    with torch.no_grad():
        assert torch.allclose(classifier[1](features), probe.scores(features), atol=1e-3)


def test_all_layers_move_the_statistics_of_batch_norm_and_the_run_do_not(
    run: Run, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[nn.Sequential] = []
    start = module._start

    def watched(*given: object) -> nn.Sequential:
        seen.append(start(*given))  # type: ignore[arg-type]
        return seen[0]

    monkeypatch.setattr(module, "_start", watched)
    before = {name: t.clone() for name, t in run.model.state_dict().items()}
    result = evaluate_fine_tuning(run, style, epochs=2)
    after = seen[0][0].state_dict()
    for name, value in run.model.image_tower.state_dict().items():
        still = "running" in name or "num_batches" in name
        assert torch.equal(after[name], value) == still, name
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert result["accuracy"] > 0.85 and result["head_only"]["accuracy"] > 0.85
    assert (result["train"], result["test"], result["epochs"]) == (96, 90, 2)
    assert "all layers" in fine_tuning_table(result)


def test_the_same_seed_gives_the_same_and_no_epoch_is_refused(run: Run, style: Path) -> None:
    one, two = (evaluate_fine_tuning(run, style, epochs=1, seed=3) for _ in range(2))
    assert one == two
    with pytest.raises(InputError, match="at least one"):
        evaluate_fine_tuning(run, style, epochs=0)
