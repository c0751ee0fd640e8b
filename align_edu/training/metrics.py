"""A run's progress: a live line, metrics.jsonl and, on request, TensorBoard."""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from align_edu.io import InputError, written_whole
from align_edu.loss import best_temperature, chance_loss, loss_floor
from align_edu.presets import Preset
from align_edu.training.recipe import Budget

Row = dict[str, float]


def loss_range(preset: Preset, gap: float) -> tuple[float, float, float]:
    """Return the floor and the chance level of a preset's loss, and its best temperature.

    gap: how much nearer each image is to its text than to the others, in cosines. With fewer
    negatives each softmax has fewer columns. The sigmoid loss is not smoothed, so its floor is
    0; its chance level is N times the entropy of an answer that is yes once in N.

    Paper: Section 4.1; Section 6.1, Table 8 (fewer negatives). Sigmoid: Zhai et al. (2023).

    >>> from align_edu.presets import get_preset, replace_fields
    >>> half = replace_fields(get_preset("toy"), {"loss.negatives": "0.5"})  # 129 of 256 columns
    >>> loss_range(half, 0.5)[1] == 2 * math.log(129)
    True
    """
    n, loss = preset.recipe.batch_size, preset.loss
    if loss.kind == "sigmoid":
        return 0.0, math.log(n) + (n - 1) * math.log(n / (n - 1)), 0.0
    columns = 1 + round((n - 1) * loss.negatives)
    best = best_temperature(columns, loss.label_smoothing, gap)
    return loss_floor(columns, loss.label_smoothing), chance_loss(columns), best


class MetricsLog(ExitStack):
    """Writes each row to ``metrics.jsonl`` at once and shows the newest on one line.

    step, seconds: where the run starts; rows of later steps, left by a killed run, are dropped.
    """

    def __init__(
        self, folder: Path, preset: Preset, budget: Budget, step: int, seconds: float,
        *, progress: bool, tensorboard: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self._preset, self._budget, self._seconds = preset, budget, seconds
        path = folder / "metrics.jsonl"
        _keep_rows_until(path, step)
        self._file = self.enter_context(path.open("a", encoding="utf-8"))
        self._bar: tqdm[Any] = self.enter_context(
            tqdm(
                total=100,
                initial=100 * budget.progress(step, seconds),  # not the work of this session
                desc="training",
                disable=not progress,
                bar_format="{desc} {percentage:3.0f}% |{bar:20}| {remaining} left{postfix}",
            )
        )
        self._events = None
        if tensorboard:
            self._events = self.enter_context(_event_writer(folder / "tensorboard"))

    def write(
        self, step: int, seconds: float, losses: list[float], sigma: float, gap: float, rate: float
    ) -> None:
        """Write the row of ``step``: the mean loss and the speed since the row before.

        losses: of the steps since then. gap: of the last batch's cosines. rate: learning rate.
        """
        size = self._preset.recipe.batch_size
        floor, chance, best = loss_range(self._preset, gap)
        row = {
            "step": step,
            "loss": sum(losses) / len(losses),
            "floor": floor,
            "chance": chance,
            "temperature": sigma,
            "best_temperature": best,
            "learning_rate": rate,
            "pairs_per_second": round(len(losses) * size / (seconds - self._seconds), 1),
            "seconds": round(seconds, 3),
            "pairs_seen": step * size,
        }
        self._seconds = seconds
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self._bar.set_postfix_str(
            f"loss {row['loss']:.2f} (floor {floor:.2f}, chance {chance:.2f})"
            f" σ {sigma:.4f} (best {best:.4f}) {row['pairs_per_second']:.0f} pairs/s",
            refresh=False,
        )
        self._bar.update(100 * self._budget.progress(step, seconds) - self._bar.n)
        if self._events is not None:
            for name in ("loss", "temperature", "learning_rate", "pairs_per_second"):
                self._events.add_scalar(name, row[name], step)


def read_metrics(folder: str | Path) -> list[Row]:
    """Return the rows of a run's ``metrics.jsonl``, oldest first.

    Raises InputError when the run has none yet.
    """
    path = Path(folder) / "metrics.jsonl"
    if not path.exists():
        raise InputError(f"{path}: no such file; give the folder of a run that has begun")
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # a killed run may leave half a line at the end
            break
    return rows


def _keep_rows_until(path: Path, step: int) -> None:
    if path.exists():
        kept = [json.dumps(row) + "\n" for row in read_metrics(path.parent) if row["step"] <= step]
        with written_whole(path) as beside:
            beside.write_text("".join(kept), encoding="utf-8")


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("--tensorboard: run `pip install tensorboard` first") from None
    return SummaryWriter(folder)
