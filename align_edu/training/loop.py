"""The training loop, from the first batch to the last checkpoint."""

import hashlib
import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

from align_edu.cores import usable_cores
from align_edu.io import InputError, TrainingStopped, fingerprint, only_writer, write_json
from align_edu.model.align import Align
from align_edu.model.wordpiece import load_wordpiece, save_wordpiece, train_wordpiece
from align_edu.pairs.shards import PairSource, open_pairs
from align_edu.presets import Preset, preset_from_dict
from align_edu.training.batches import TrainingBatches
from align_edu.training.checkpoint import (
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    save_checkpoint,
    save_tensors,
)
from align_edu.training.machine import (
    Machine,
    Tower,
    compiled_or_same,
    keep_freed_memory,
    open_machine,
)
from align_edu.training.metrics import MetricsLog
from align_edu.training.processes import best_processes, helpers, join_as_helper, one_thread
from align_edu.training.recipe import Budget, build_optimizer, learning_rate_factor
from align_edu.training.run import (
    Run,
    check_folder,
    load_run,
    software_versions,
    vocabulary_to_start_from,
)
from align_edu.training.step import add_gradient

# The program of a helper process, and the files that it reads.
_HELPER = "from align_edu.training.loop import help_training; help_training()"
_PICTURES, _VOCABULARY = "pixels", "tokenizer.json"


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
    steps or minutes: the length (default: the preset's steps). resume: continue from the last
    checkpoint in ``out``; a run by steps then ends with the same bits as an unbroken one.
    tokenizer: a WordPiece vocabulary (default: train one on the data's texts). start: the
    folder of a run whose weights and vocabulary to begin with (see ``fine_tuning``). device:
    "cpu", "cuda", "xla", or None for a GPU if one exists; under ``torchrun`` its processes
    share each batch. processes: how many of this machine's cores share each batch, with one
    thread each (default: see ``best_processes``). progress: show a live line. tensorboard: also
    write event files.
    Raises InputError for bad input, TrainingStopped for a loss that is not finite or when
    another process of the run ends.

    Paper: Section 4.1 and Section 5; Section 5.1 for fine-tuning.
    """
    out, size = Path(out), preset.recipe.batch_size
    budget = Budget(preset.recipe.steps if steps is None and minutes is None else steps, minutes)
    settings = {"preset": preset.to_dict(), "seed": seed, "steps": budget.steps, "minutes": minutes}
    if start is not None:
        tokenizer = vocabulary_to_start_from(Path(start), tokenizer)
        settings["start"] = fingerprint(Path(start) / "model.safetensors")
    machine = open_machine(device)
    if minutes is not None and machine.group is None and machine.processes > 1:
        raise InputError("several hosts have no common clock; give the length as --steps")
    cores = _cores(machine, preset, budget, processes)
    shows = progress and machine.rank == 0
    with ExitStack() as stack:
        if machine.rank == 0:
            stack.enter_context(only_writer(out))
        check_folder(out, settings, resume)  # before the data, which may take long to read
        source = open_pairs(data)
        settings["data_sha256"] = _fingerprint_of(source)
        check_folder(out, settings, resume)
        if resume and (out / "model.safetensors").exists():  # written last: the run is finished
            return load_run(out, str(machine.device))
        if resume and (out / "tokenizer.json").exists():
            tokenizer = load_wordpiece(out / "tokenizer.json")
        elif tokenizer is None:
            tokenizer = train_wordpiece(source.captions, preset.text.vocabulary_size, at_most=True)
        record = settings | {"data": [str(path) for path in data], "versions": software_versions()}
        rows, cache = machine.rows(size), None
        if cores > 0:
            stack.enter_context(one_thread())
            if shows:
                note = f"training on {cores} of {usable_cores()} cores, one thread each"
                tqdm.write(note, file=sys.stderr)
        if cores > 1:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="align_edu_")))
            rows, cache = range(size // cores), folder / _PICTURES
            save_wordpiece(tokenizer, folder / _VOCABULARY)
        batches = TrainingBatches(
            source, tokenizer, preset, seed, shows,
            rows=rows, fixed_length=machine.fixed_shapes, cache=cache,
        )  # fmt: skip
        if cores > 1:
            job = record | {"out": str(out), "start": None if start is None else str(start)}
            group = stack.enter_context(helpers(_HELPER, job, folder, cores - 1))
            machine = Machine(machine.device, group)
        stack.enter_context(machine.watched())
        model = take_steps(batches, budget, machine, out, start, record, shows, tensorboard)
    if shows and batches.skipped:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(batches.skipped.items()))
        tqdm.write(f"skipped pairs: {reasons}", file=sys.stderr)
    return Run(out, preset, tokenizer, model.eval())


def take_steps(
    batches: TrainingBatches,
    budget: Budget,
    machine: Machine,
    out: Path,
    start: str | Path | None = None,
    record: dict[str, Any] | None = None,
    shows: bool = False,
    tensorboard: bool = False,
) -> Align:
    """Train until the budget is used up and return the model; process 0 writes the run's files.

    Continues from the newest checkpoint in ``out``. record: the content of config.json.
    """
    preset, recipe, writes = batches.preset, batches.preset.recipe, machine.rank == 0
    keep_freed_memory()
    model = Align(preset, batches.tokenizer.get_vocab_size(), batches.seed)
    model = model.to(machine.device).train()
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tower: Tower = model.image_tower
    if recipe.compile and machine.device.type != "xla":  # XLA compiles everything
        pairs = recipe.chunk or len(batches.rows)
        tower = compiled_or_same(model.image_tower, preset, machine.device, pairs)
    if start is not None:
        load_weights(Path(start) / "model.safetensors", model)
    optimizer = build_optimizer(model, recipe)

    step, seconds = 0, 0.0
    newest = newest_checkpoint(out / "checkpoints")
    if newest is not None:
        state = load_checkpoint(newest, model, optimizer)
        step, seconds = state["step"], state["seconds"]
    machine.replicate(model, optimizer)
    machine.wait()  # every process has loaded its checkpoint: process 0 may delete old ones
    log = None
    if writes:
        save_wordpiece(batches.tokenizer, out / "tokenizer.json")
        write_json(out / "config.json", record)
        log = MetricsLog(
            out, preset, budget, step, seconds, progress=shows, tensorboard=tensorboard
        )

    with log or nullcontext():
        losses: list[Tensor] = []  # since the last row of metrics
        started = time.perf_counter() - seconds
        upcoming = batches.from_step(step)
        while budget.progress(step, seconds) < 1.0:
            batch = next(upcoming)
            place = budget.of_step(step, seconds)
            rate = recipe.learning_rate * learning_rate_factor(place, recipe.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, gap = add_gradient(model, tower, batch, machine, batches.seed * 1_000_003 + step)
            seconds = machine.average_gradients(model, time.perf_counter() - started)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            machine.finish_step()
            losses.append(loss)  # not read yet: that would wait for the device
            step += 1

            last = budget.progress(step, seconds) >= 1.0
            logs = last or step % recipe.log_steps == 0
            keeps = last or step % recipe.checkpoint_steps == 0
            if logs or keeps:
                values, sigma = _numbers(step, losses, model)
            if logs:
                if log is not None:
                    log.write(step, seconds, values, sigma, gap.item(), rate)
                losses = []
            if keeps:
                machine.average_statistics(model)
                if writes:
                    state = {"step": step, "seconds": seconds}
                    save_checkpoint(out / "checkpoints", model, optimizer, state)

    machine.average_statistics(model)
    if writes:
        save_tensors(out / "model.safetensors", model.state_dict(), {"format": "pt"})
    machine.wait()  # until the run is complete
    return model


def help_training() -> None:
    """Take a helper's share of each batch until the run is over; write nothing."""
    job, folder, group = join_as_helper()
    machine, preset = Machine(torch.device("cpu"), group), preset_from_dict(job["preset"])
    batches = TrainingBatches(
        open_pairs(job["data"]), load_wordpiece(folder / _VOCABULARY), preset, job["seed"], False,
        rows=machine.rows(preset.recipe.batch_size), cache=folder / _PICTURES,
    )  # fmt: skip
    budget = Budget(job["steps"], job["minutes"])
    try:
        with machine.watched():
            take_steps(batches, budget, machine, Path(job["out"]), job["start"])
    except TrainingStopped:
        sys.exit(1)  # process 0 reports the reason


def _cores(machine: Machine, preset: Preset, budget: Budget, requested: int | None) -> int:
    """Return how many one-thread processes share each batch; 0 means one with all threads."""
    size = preset.recipe.batch_size
    if machine.device.type != "cpu" or machine.group is not None:
        if requested is not None:
            raise InputError("processes are for a CPU without torchrun; leave --processes out")
        return 0
    if requested is None:
        with torch.device("meta"):
            model = Align(preset, preset.text.vocabulary_size)
        weights = sum(p.numel() for p in model.parameters())
        return best_processes(preset, weights, budget.pairs(size))
    if requested < 1 or size % requested:
        raise InputError(f"--processes {requested}: must divide the batch of {size} pairs")
    return requested


def _fingerprint_of(source: PairSource) -> str:
    """Return the SHA-256 of all keys, captions and image sizes, in the order of the pairs."""
    digest = hashlib.sha256(source.places[:, 2].tobytes())
    for key, caption in zip(source.keys, source.captions, strict=True):
        digest.update(f"{key}\0{caption}\0".encode())
    return digest.hexdigest()


def _numbers(step: int, losses: list[Tensor], model: Align) -> tuple[list[float], float]:
    """Return losses and temperature; TrainingStopped if one is not finite or not positive."""
    values, sigma = torch.stack(losses).tolist(), model.temperature().item()
    for ago, value in enumerate(reversed(values)):
        if not math.isfinite(value):
            raise TrainingStopped(
                f"step {step - ago}: the loss is {value}; lower recipe.learning_rate or raise"
                " loss.temperature and start again from the last checkpoint"
            )
    if sigma <= 0:
        raise TrainingStopped(
            f"step {step}: the temperature fell to {sigma:.3g}; set loss.log_temperature=true or"
            " lower recipe.learning_rate and start again"
        )
    return values, sigma
