"""A run's progress: a live line, metrics.jsonl and, on request, TensorBoard."""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from align_edu.io import InputError, TrainingStopped, cannot_write, written_whole
from align_edu.loss import best_temperature, chance_loss, loss_floor
from align_edu.presets import Preset
from align_edu.training.recipe import Budget

Row = dict[str, float]


def loss_range(preset: Preset, gap: float) -> tuple[float, float, float]:
    """Return the floor and the chance level of a preset's loss, and its best temperature.

    gap: how much nearer each image is to its text than to the others, in cosines. The sigmoid loss
    is not smoothed, so its floor is 0; at chance, one of N answers is yes.

    Paper: Section 4.1; Section 6.1, Table 8 (fewer negatives). Sigmoid: Zhai et al. (2023).
    """
    n, loss = preset.recipe.batch_size // preset.loss.cores, preset.loss
    if loss.kind == "sigmoid":
        return 0.0, math.log(n) + (n - 1) * math.log(n / (n - 1)), 0.0
    columns = 1 + round((n - 1) * loss.negatives)
    best = best_temperature(columns, loss.label_smoothing, gap)
    return loss_floor(columns, loss.label_smoothing), chance_loss(columns), best


def best_loss(preset: Preset, counts: np.ndarray) -> float:
    """Return about how low the loss can fall when the pairs share captions.

    counts: how many pairs have each distinct caption. A batch holds about 1 + (N - 1) (c - 1) /
    (P - 1) copies of one that c of P pairs have; the best answer to each is their targets' mean.
    """
    n, loss = preset.recipe.batch_size // preset.loss.cores, preset.loss
    softmax, pairs = loss.kind == "softmax", counts.sum()
    columns = 1 + round((n - 1) * loss.negatives) if softmax else n
    copies = 1 + (columns - 1) * (counts - 1) / (pairs - 1)
    if softmax:
        other = loss.label_smoothing / columns
        own = (1 - loss.label_smoothing) / copies + other
        rest = (columns - copies) * other * math.log(other or 1)
        losses = -2 * (copies * own * np.log(own) + rest)
    else:
        losses = np.log(copies) - (copies - 1) * np.log1p(-1 / copies.clip(1 + 1e-9))
    return float(np.average(losses, weights=counts))


class MetricsLog(ExitStack):
    """Keeps the losses since the last row; writes rows to ``metrics.jsonl`` and to a live line.

    folder: of the run; None: only check the losses. step, seconds: where the run starts.
    """

    def __init__(
        self, folder: Path | None, preset: Preset, budget: Budget, step: int, seconds: float,
        progress: bool = False, tensorboard: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.losses: list[Tensor] = []  # tensors, since reading one waits for the device
        self._preset, self._budget, self._seconds = preset, budget, seconds
        self._file = folder and folder / "metrics.jsonl"
        self._events: Any = None
        if folder is None or self._file is None:
            return
        rows = read_metrics(folder) if self._file.exists() else []
        with written_whole(self._file) as beside:  # without what a killed run left of later steps
            kept = (json.dumps(row) + "\n" for row in rows if row["step"] <= step)
            beside.write_text("".join(kept), encoding="utf-8")
        done = 100 * budget.progress(step, seconds)  # initial: not the work of this session
        form = "{desc} {percentage:3.0f}% |{bar:20}| {remaining} left{postfix}"
        self._bar: tqdm[Any] = self.enter_context(
            tqdm(total=100, initial=done, desc="training", disable=not progress, bar_format=form)
        )
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise InputError("--tensorboard: run `pip install tensorboard` first") from None
            self._events = self.enter_context(SummaryWriter(folder / "tensorboard"))

    def check(self, step: int, sigma: float) -> list[float]:
        """Return the losses; TrainingStopped if one is not finite or σ is not above 0."""
        values = torch.stack(self.losses).tolist() if self.losses else []
        for ago, value in enumerate(reversed(values)):
            if not math.isfinite(value):
                remedy = "lower recipe.learning_rate or raise loss.temperature and start again"
                wrong = f"step {step - ago}: the loss is {value}"
                raise TrainingStopped(f"{wrong}; {remedy} from the last checkpoint")
        if sigma <= 0:
            remedy = "set loss.log_temperature=true or lower recipe.learning_rate and start again"
            raise TrainingStopped(f"step {step}: the temperature fell to {sigma:.3g}; {remedy}")
        return values

    def write(self, step: int, seconds: float, sigma: float, gap: Tensor, rate: float) -> None:
        """Write the row of ``step``: the mean loss and the speed since the row before."""
        values, self.losses = self.check(step, sigma), []
        if self._file is None:
            return
        size = self._preset.recipe.batch_size
        floor, chance, best = loss_range(self._preset, gap.item())
        speed = round(len(values) * size / (seconds - self._seconds), 1)
        row = {
            "step": step, "loss": sum(values) / len(values), "floor": floor, "chance": chance,
            "temperature": sigma, "best_temperature": best, "learning_rate": rate,
            "pairs_per_second": speed, "seconds": round(seconds, 3), "pairs_seen": step * size,
        }  # fmt: skip
        self._seconds = seconds
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_write(self._file, error) from error
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
    """Return the rows of a run's ``metrics.jsonl``, oldest first; InputError if it has none yet."""
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
