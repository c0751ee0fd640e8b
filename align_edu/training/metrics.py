"""What a run tells while it runs: a live line, metrics.jsonl, and TensorBoard if wanted."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from align_edu.io import InputError, written_whole

Row = dict[str, float]


class MetricsLog:
    """Writes each row to ``metrics.jsonl`` at once, and shows the newest on one line.

    folder: the run's. step: where the run starts; rows after it were written by a killed run
    and are dropped. progress: show the line. tensorboard: also write its event files.
    """

    def __init__(self, folder: Path, step: int, *, progress: bool, tensorboard: bool) -> None:
        path = folder / "metrics.jsonl"
        _keep_rows_until(path, step)
        self._file = path.open("a", encoding="utf-8")
        self._bar: tqdm[Any] = tqdm(
            total=100,
            desc="training",
            disable=not progress,
            bar_format="{desc} {percentage:3.0f}% |{bar:20}| {remaining} left{postfix}",
        )
        self._events = _event_writer(folder / "tensorboard") if tensorboard else None

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._bar.close()
        if self._events is not None:
            self._events.close()

    def write(self, row: Row, done: float) -> None:
        """Write one row; ``done`` is the fraction of the run that is over."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self._bar.set_postfix_str(
            f"loss {row['loss']:.2f} (floor {row['floor']:.2f}, chance {row['chance']:.2f})"
            f" σ {row['temperature']:.4f} (best {row['best_temperature']:.4f})"
            f" {row['pairs_per_second']:.0f} pairs/s",
            refresh=False,
        )
        self._bar.update(100 * done - self._bar.n)
        if self._events is not None:
            for name in ("loss", "temperature", "learning_rate", "pairs_per_second"):
                self._events.add_scalar(name, row[name], int(row["step"]))


def read_metrics(folder: str | Path) -> list[Row]:
    """Return the rows of a run's ``metrics.jsonl``, oldest first.

    Raises InputError when the run has none yet.
    """
    path = Path(folder) / "metrics.jsonl"
    if not path.exists():
        raise InputError(f"{path}: not there; give the folder of a run that has begun")
    return _whole_rows(path)


def _whole_rows(path: Path) -> list[Row]:
    """The rows up to the first damaged one: a killed run may leave half a line at the end."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _keep_rows_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [json.dumps(row) + "\n" for row in _whole_rows(path) if row["step"] <= step]
    with written_whole(path) as beside:
        beside.write_text("".join(kept), encoding="utf-8")


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "--tensorboard: the package is not installed; run `pip install tensorboard`"
        ) from None
    return SummaryWriter(folder)
