"""The training loop, from the first batch to the last checkpoint."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

from align_edu.cores import usable_cores
from align_edu.io import InputError, TrainingStopped, fingerprint, read_json, write_json
from align_edu.loss import best_temperature, chance_loss, loss_floor
from align_edu.model.align import Align
from align_edu.model.wordpiece import load_wordpiece, save_wordpiece, train_wordpiece
from align_edu.pairs.shards import open_pairs
from align_edu.planning.count import parameters
from align_edu.presets import Preset, preset_from_dict
from align_edu.training.batches import Batch, TrainingBatches
from align_edu.training.checkpoint import (
    load_checkpoint,
    load_tensors,
    load_weights,
    newest_checkpoint,
    save_checkpoint,
    save_tensors,
)
from align_edu.training.devices import Machine, open_machine
from align_edu.training.machine import Tower, compiled_or_same, keep_freed_memory
from align_edu.training.metrics import MetricsLog, Row
from align_edu.training.processes import MOST_WEIGHTS, best_processes, one_thread, peers
from align_edu.training.recipe import Budget, build_optimizer
from align_edu.training.run import Run, load_run, software_versions
from align_edu.training.step import Trainer


def train(
    preset: Preset,
    data: Sequence[str | Path],
    out: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = False,
    tokenizer: Tokenizer | None = None,
    start: str | Path | None = None,
    device: str | None = None,
    processes: int | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> Run:
    """Train ALIGN on image–text pairs, from scratch or from another run, and return the run.

    data: folders of shards, tar files, outputs of ``filter``, or benchmarks, of which the
    training split is used. out: the run's folder.
    steps or minutes: the length (default: the preset's steps). resume: go on from the last
    checkpoint in ``out``; a run by steps then ends exactly as an unbroken one. tokenizer: a
    WordPiece vocabulary; without one it is trained on the data's own texts. start: the folder
    of a run whose weights and vocabulary to begin with (see ``fine_tuning``). device: "cpu",
    "cuda", "xla", or None for the best CPU or GPU that is there; under ``torchrun`` its
    processes share each batch. processes: how many of this machine's cores share each batch,
    with one thread each; None chooses (see ``best_processes``). progress: show a live line.
    tensorboard: also write event files.
    Raises InputError for bad input, TrainingStopped for a loss that is not finite or another
    process that ended.

    Paper: Section 4.1 and Section 5; Section 5.1 for fine-tuning.
    """
    out = Path(out)
    if steps is None and minutes is None:
        steps = preset.recipe.steps
    budget = Budget(steps, minutes)
    settings = {"preset": preset.to_dict(), "seed": seed, "steps": steps, "minutes": minutes}
    if start is not None:
        weights, tokenizer = _beginning(Path(start), tokenizer)
        settings["start"] = fingerprint(weights)
    _check_folder(out, settings, resume)
    machine = open_machine(device)
    if minutes is not None and machine.group is None and machine.processes > 1:
        raise InputError("several hosts have no clock in common; give the length as --steps")
    if resume and (out / "model.safetensors").exists():  # written last: nothing is left to do
        return load_run(out, str(machine.device))
    source = open_pairs(data)
    if resume and (out / "tokenizer.json").exists():
        tokenizer = load_wordpiece(out / "tokenizer.json")
    elif tokenizer is None:
        tokenizer = train_wordpiece(source.captions, preset.text.vocabulary_size, at_most=True)
    about = settings | {"data": [str(path) for path in data], "versions": software_versions()}
    count = _local_processes(machine, preset, budget, processes)
    shows = progress and machine.rank == 0
    if shows and count > 0:
        told = f"training on {count} of {usable_cores()} cores, one thread each"
        tqdm.write(told, file=sys.stderr)
    with _cores(count), TemporaryDirectory(prefix="align_edu_") as folder:
        rows, cache = machine.rows(preset.recipe.batch_size), None
        if count > 1:
            rows, cache = range(preset.recipe.batch_size // count), Path(folder) / "pixels"
        batches = TrainingBatches(
            source, tokenizer, preset, seed, shows,
            rows=rows, fixed_length=machine.fixed_shapes, cache=cache,
        )  # fmt: skip
        with _beside(machine, count, batches, Path(folder), about, out, start) as machine:
            model = go_through(batches, budget, machine, out, start, about, shows, tensorboard)
    return Run(out, preset, tokenizer, model.eval())


def _cores(count: int) -> AbstractContextManager[None]:
    """One thread inside the block where cores are shared; else torch's own number."""
    return one_thread() if count > 0 else nullcontext()


@contextmanager
def _beside(
    machine: Machine,
    count: int,
    batches: TrainingBatches,
    folder: Path,
    about: dict[str, Any],
    out: Path,
    start: str | Path | None,
) -> Iterator[Machine]:
    """Yield the machine, as one of ``count`` processes if that is more than one.

    The others read from ``folder`` what to do: the run's settings, vocabulary and pictures.
    """
    if count < 2:
        yield machine
        return
    save_wordpiece(batches.tokenizer, folder / "tokenizer.json")
    job = about | {"out": str(out), "start": None if start is None else str(start)}
    job |= {"tokenizer": str(folder / "tokenizer.json"), "cache": str(folder / "pixels")}
    with peers("align_edu.training.peer", job, folder, count - 1) as group:
        yield Machine(machine.device, group)


def _local_processes(
    machine: Machine, preset: Preset, budget: Budget, processes: int | None
) -> int:
    """How many processes of this machine share a batch, one thread each; 0: leave torch's threads.

    Raises InputError for a number that does not divide the batch, or for another device.
    """
    alone = machine.device.type == "cpu" and machine.group is None
    if processes is not None:
        if not alone:
            raise InputError("processes are for a CPU without torchrun; leave --processes out")
        if processes < 1 or preset.recipe.batch_size % processes:
            raise InputError(
                f"--processes {processes}: must divide the batch of"
                f" {preset.recipe.batch_size} pairs"
            )
        return processes
    if not alone:
        return 0
    weights = sum(shape.numel() for part in parameters(preset).values() for _, shape in part)
    if weights > MOST_WEIGHTS:
        return 0
    return best_processes(preset, weights, budget.pairs(preset.recipe.batch_size))


def go_through(
    batches: TrainingBatches,
    budget: Budget,
    machine: Machine,
    out: Path,
    start: str | Path | None,
    about: dict[str, Any] | None = None,
    progress: bool = False,
    tensorboard: bool = False,
) -> Align:
    """Build the model, take all steps and return it; process 0 writes the run's files."""
    trainer = _build(batches, budget, machine)
    if start is not None:
        weights = Path(start) / "model.safetensors"
        load_weights(weights, trainer.model, load_tensors(weights))
    _train_and_write(trainer, out, about or {}, progress, tensorboard)
    return trainer.model


def _train_and_write(
    trainer: Trainer, out: Path, about: dict[str, Any], progress: bool, tensorboard: bool
) -> None:
    """Take all steps; the first process writes the run's files, the weights last."""
    machine, batches = trainer.machine, trainer.batches
    first = machine.rank == 0  # the others read and compute, and write nothing
    with machine.watched():
        _go_on(trainer, out / "checkpoints")
        machine.wait()  # until all have read what is there
        if first:
            save_wordpiece(batches.tokenizer, out / "tokenizer.json")
            write_json(out / "config.json", about)
            with MetricsLog(out, trainer.step, progress=progress, tensorboard=tensorboard) as log:
                _run(trainer, out, log)
        else:
            _run(trainer, out, None)
        machine.average_statistics(trainer.model)
        if first:
            save_tensors(out / "model.safetensors", trainer.model.state_dict(), {"format": "pt"})
        machine.wait()  # until the run is whole
    _report_skipped(batches, progress and first)


def _check_folder(out: Path, settings: dict[str, Any], resume: bool) -> None:
    """Refuse to overwrite another run, and to resume with other settings."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the run")
    if not (out / "config.json").exists():
        return
    if not resume:
        raise InputError(
            f"{out}: already holds a run; go on with --resume or choose another folder"
        )
    there = read_json(out / "config.json")
    if "preset" in there:  # an older version wrote fewer fields
        there["preset"] = preset_from_dict(there["preset"]).to_dict()
    for name, value in settings.items():
        if there.get(name) != value:
            raise InputError(
                f"{out}: the checkpoints are of another run ({name} differs);"
                " resume with the same preset, length and seed"
            )


def _beginning(start: Path, tokenizer: Tokenizer | None) -> tuple[Path, Tokenizer]:
    """The weights and the vocabulary of the run to begin with."""
    if tokenizer is not None:
        raise InputError(f"{start}: this run brings its own vocabulary; give no other one")
    weights = start / "model.safetensors"
    if not weights.exists():
        raise InputError(f"{weights}: not there; give the folder of a finished run to start from")
    return weights, load_wordpiece(start / "tokenizer.json")


def _build(batches: TrainingBatches, budget: Budget, machine: Machine) -> Trainer:
    """Make the model and its optimiser on the device."""
    keep_freed_memory()
    preset, seed = batches.preset, batches.seed
    model = Align(preset, batches.tokenizer.get_vocab_size(), seed).to(machine.device).train()
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tower: Tower = model.image_tower
    if preset.recipe.compile and machine.device.type != "xla":  # XLA compiles by itself
        pairs = preset.recipe.chunk or len(batches.rows)
        tower = compiled_or_same(model.image_tower, preset, machine.device, pairs)
    return Trainer(
        preset, model, build_optimizer(model, preset.recipe), batches, budget, seed, machine, tower
    )


def _go_on(trainer: Trainer, checkpoints: Path) -> None:
    """Continue from the newest checkpoint, if there is one."""
    newest = newest_checkpoint(checkpoints)
    if newest is not None:
        state = load_checkpoint(newest, trainer.model, trainer.optimizer)
        trainer.step, trainer.seconds = state["step"], state["seconds"]
    trainer.machine.replicate(trainer.model, trainer.optimizer)


def _run(trainer: Trainer, out: Path, log: MetricsLog | None) -> None:
    """Take steps until the budget is used up; with a log, write metrics and checkpoints too."""
    recipe = trainer.preset.recipe
    pending: list[Tensor] = []  # losses that are not read yet: reading one waits for the device
    losses: list[float] = []
    logged_at = trainer.seconds
    trainer.started = time.perf_counter() - trainer.seconds
    for batch in _batches(trainer):
        pending.append(trainer.train_step(batch))
        over = trainer.progress() >= 1.0
        logs, keeps = (
            over or trainer.step % each == 0 for each in (recipe.log_steps, recipe.checkpoint_steps)
        )
        if logs or keeps:
            losses += _sound(pending, trainer)
            pending = []
        if log is not None and logs:
            log.write(_row(trainer, losses, trainer.seconds - logged_at), trainer.progress())
        if logs:
            losses, logged_at = [], trainer.seconds
        if keeps:
            trainer.machine.average_statistics(trainer.model)
            if log is not None:
                state = {"step": trainer.step, "seconds": trainer.seconds}
                save_checkpoint(out / "checkpoints", trainer.model, trainer.optimizer, state)


def _sound(pending: list[Tensor], trainer: Trainer) -> list[float]:
    """Return losses as numbers; TrainingStopped where they, or the temperature, make no sense."""
    values = torch.stack(pending).tolist()
    sigma = trainer.model.temperature().item()
    for steps_ago, value in enumerate(reversed(values)):
        if not math.isfinite(value):
            raise TrainingStopped(
                f"step {trainer.step - steps_ago}: the loss is {value}; lower"
                " recipe.learning_rate or raise loss.temperature and start again from the last"
                " checkpoint"
            )
    if sigma <= 0:
        raise TrainingStopped(
            f"step {trainer.step}: the temperature fell to {sigma:.3g}; set"
            " loss.log_temperature=true or lower recipe.learning_rate and start again"
        )
    return values


def _batches(trainer: Trainer) -> Iterator[Batch]:
    """Yield batches until the budget is used up."""
    if trainer.progress() >= 1.0:
        return
    for batch in trainer.batches.from_step(trainer.step):
        yield batch
        if trainer.progress() >= 1.0:
            return


def _row(trainer: Trainer, losses: list[float], seconds: float) -> Row:
    """One line of metrics.jsonl: the mean loss and the speed since the line before."""
    size, smoothing = trainer.preset.recipe.batch_size, trainer.preset.loss.label_smoothing
    return {
        "step": trainer.step,
        "loss": sum(losses) / len(losses),
        "floor": loss_floor(size, smoothing),
        "chance": chance_loss(size),
        "temperature": trainer.model.temperature().item(),
        "best_temperature": best_temperature(size, smoothing, trainer.gap.item()),
        "learning_rate": trainer.optimizer.param_groups[0]["lr"],
        "pairs_per_second": round(len(losses) * size / seconds, 1),
        "seconds": round(trainer.seconds, 3),
        "pairs_seen": trainer.step * size,
    }


def _report_skipped(batches: TrainingBatches, progress: bool) -> None:
    """Say how many pairs were passed over, and why; nothing is skipped in silence."""
    if batches.skipped and progress:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(batches.skipped.items()))
        tqdm.write(f"skipped pairs: {reasons}", file=sys.stderr)
