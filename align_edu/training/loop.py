"""The training loop, from the first batch to the last checkpoint."""

import copy
import ctypes
import getpass
import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm

from align_edu.io import InputError, TrainingStopped, fingerprint, only_writer, usable_cores
from align_edu.model.align import Align
from align_edu.model.text_tower import load_wordpiece, save_wordpiece
from align_edu.pairs.shards import PairSource, open_pairs
from align_edu.presets import Preset, preset_from_dict
from align_edu.training import processes as local
from align_edu.training import run as runs
from align_edu.training.batches import TrainingBatches
from align_edu.training.gradient_cache import Tower, add_gradient
from align_edu.training.metrics import MetricsLog, best_loss, loss_range
from align_edu.training.processes import Machine
from align_edu.training.recipe import Budget, build_optimizer, learning_rate_factor

_PICTURES, _VOCABULARY = "pixels", "tokenizer.json"  # files that process 0 shares with helpers


def train(
    preset: Preset, data: Sequence[str | Path], out: str | Path, *,
    steps: int | None = None, minutes: float | None = None, seed: int = 0, resume: bool = False,
    tokenizer: Tokenizer | None = None, start: str | Path | None = None,
    device: str | None = None, processes: int | None = None,
    progress: bool = True, tensorboard: bool = False,
) -> runs.Run:  # fmt: skip
    """Train ALIGN on image–text pairs, from scratch or from another run, and return the run.

    data: folders of shards, tar files, outputs of ``filter``, or benchmarks, of which the
    training split is used. out: the run's folder.
    steps or minutes: the length (default: the preset's steps). resume: continue from the last
    checkpoint in ``out``; a run by steps then ends with the same bits as an unbroken one (on a
    GPU, whose sums have no fixed order, with rounding between them).
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
    out, start = Path(out), None if start is None else Path(start)
    budget = Budget(preset.recipe.steps if steps is None and minutes is None else steps, minutes)
    settings = {"preset": preset.to_dict(), "seed": seed, "steps": budget.steps, "minutes": minutes}
    if start is not None:
        tokenizer = _vocabulary_of(start, tokenizer)
        settings["start"] = fingerprint(start / "model.safetensors")
    machine = local.open_machine(device)
    if minutes is not None and machine.group is None and machine.processes > 1:
        raise InputError("several hosts have no common clock; give the length as --steps")
    pairs = budget.pairs(preset.recipe.batch_size)
    cores = local.best_processes(machine, preset, pairs, processes)
    shows = progress and machine.rank == 0
    with ExitStack() as stack:
        if machine.rank == 0:
            stack.enter_context(only_writer(out))
        runs.check_folder(out, settings, resume)  # before the data, which may take long to read
        source = open_pairs(data)
        settings["data_sha256"] = _fingerprint_of(source)
        runs.check_folder(out, settings, resume)
        if resume and (out / "model.safetensors").exists():  # written last: the run is finished
            return runs.load_run(out, str(machine.device))
        tokenizer = runs.choose_vocabulary(out, tokenizer, source.captions, preset)
        record = settings | {"data": list(map(str, data)), "versions": runs.software_versions()}
        job = record | {"out": str(out), "start": start and str(start)}
        if shows and cores > 0:
            _tell(f"training on {cores} of {usable_cores()} cores, one thread each")
        batches_of = partial(TrainingBatches, source, tokenizer, preset, seed, shows)
        batches, machine = stack.enter_context(_shared_out(batches_of, machine, cores, job))
        if shows:
            _warn_of_repeats(batches)
        stack.enter_context(machine.watched())
        model = take_steps(batches, budget, machine, out, start, record, shows, tensorboard)
    if shows and batches.skipped:
        reasons = (f"{count} {why}" for why, count in sorted(batches.skipped.items()))
        _tell(f"skipped pairs: {', '.join(reasons)}")
    return runs.Run(out, preset, tokenizer, model.eval(), batches.skipped)


def take_steps(
    batches: TrainingBatches, budget: Budget, machine: Machine, out: Path,
    start: Path | None, record: dict[str, Any], shows: bool = False, tensorboard: bool = False,
) -> Align:  # fmt: skip
    """Train until the budget is used up and return the model; process 0 writes the run's files.

    Continues from the newest checkpoint in ``out``. record: the content of config.json.
    """
    recipe, writes = batches.preset.recipe, machine.rank == 0
    model, tower = _new_model(batches, machine, start)
    optimizer = build_optimizer(model, recipe)
    newest = runs.newest_checkpoint(out / "checkpoints")
    state = runs.load_checkpoint(newest, model, optimizer) if newest else {}
    step, seconds = state.get("step", 0), state.get("seconds", 0.0)
    machine.replicate(model, optimizer)
    machine.wait()  # every process has loaded its checkpoint: process 0 may delete old ones
    if writes:
        runs.begin_folder(out, batches.tokenizer, record)

    folder = out if writes else None
    with MetricsLog(folder, batches.preset, budget, step, seconds, shows, tensorboard) as log:
        started = time.perf_counter() - seconds
        upcoming = batches.from_step(step, pinned=machine.device.type == "cuda")
        while budget.progress(step, seconds) < 1.0:
            place = budget.of_step(step, seconds)
            rate = recipe.learning_rate * learning_rate_factor(place, recipe.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            seed = batches.seed * 1_000_003 + step
            loss, gap = add_gradient(model, tower, next(upcoming), machine, seed)
            seconds = machine.average_gradients(model, time.perf_counter() - started)
            optimizer.step()
            optimizer.zero_grad()
            machine.finish_step()
            log.losses.append(loss)
            step += 1

            last = budget.progress(step, seconds) >= 1.0
            if last or step % recipe.log_steps == 0:
                log.write(step, seconds, model.temperature().item(), gap, rate)
            if last or step % recipe.checkpoint_steps == 0:
                log.check(step, model.temperature().item())  # keep nothing that is not finite
                machine.average_statistics(model)
                if writes:
                    state = {"step": step, "seconds": seconds}
                    runs.save_checkpoint(out / "checkpoints", model, optimizer, state)

    if writes:
        runs.save_tensors(out / "model.safetensors", model.state_dict(), {"format": "pt"})
    machine.wait()  # until the run is complete
    return model


def _new_model(
    batches: TrainingBatches, machine: Machine, start: Path | None
) -> tuple[Align, Tower]:
    """Return the model before its first step, and its image tower, compiled if the recipe says."""
    preset = batches.preset
    keep_freed_memory()
    model = Align(preset, batches.tokenizer.get_vocab_size(), batches.seed)
    model.to(machine.device).train()
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        runs.load_weights(start / "model.safetensors", model)
    if not preset.recipe.compile or machine.device.type == "xla":  # XLA compiles everything
        return model, model.image_tower
    pixels = torch.zeros(preset.recipe.chunk or len(batches.rows), 3, *[preset.image.crop] * 2)
    return model, compiled_or_same(model.image_tower, pixels.to(machine.device))


@contextmanager
def _shared_out(
    batches_of: Callable[..., TrainingBatches], machine: Machine, cores: int, job: dict[str, Any]
) -> Iterator[tuple[TrainingBatches, Machine]]:
    """Yield this process's batches and machine, beside helpers where several cores train."""
    with local.one_thread(cores > 0):
        if cores <= 1:
            rows = machine.rows(job["preset"]["recipe"]["batch_size"])
            yield batches_of(rows=rows, fixed_length=machine.device.type == "xla"), machine
            return
        with TemporaryDirectory(prefix="align_edu_") as folder:
            shared = Path(folder)
            rows = range(job["preset"]["recipe"]["batch_size"] // cores)
            batches = batches_of(rows=rows, cache=shared / _PICTURES)
            save_wordpiece(batches.tokenizer, shared / _VOCABULARY)
            with local.helpers(job, shared, cores - 1) as together:
                yield batches, together


def help_training() -> None:
    """Take a helper's share of each batch until the run is over; write nothing."""
    try:
        job, folder, machine = local.join_as_helper()
        preset, budget = preset_from_dict(job["preset"]), Budget(job["steps"], job["minutes"])
        source, tokenizer = open_pairs(job["data"]), load_wordpiece(folder / _VOCABULARY)
        rows, cache = machine.rows(preset.recipe.batch_size), folder / _PICTURES
        batches = TrainingBatches(source, tokenizer, preset, job["seed"], rows=rows, cache=cache)
        start = job["start"] and Path(job["start"])
        with machine.watched():
            take_steps(batches, budget, machine, Path(job["out"]), start, job)
    except TrainingStopped:
        sys.exit(1)  # process 0 reports the reason


def compiled_or_same(tower: nn.Module, pixels: Tensor) -> Tower:
    """Return the image tower compiled for batches like ``pixels``; unchanged where that fails."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name, after whom torch names files
        os.environ["USER"] = f"user{os.getuid()}"
    before = copy.deepcopy(tower.state_dict())
    try:
        compiled = torch.compile(tower)
        compiled(pixels.to(memory_format=torch.channels_last)).sum().backward()
    except Exception as error:  # the compiler's exceptions have no common type
        _tell(f"note: the image tower is not compiled ({type(error).__name__}); see doctor")
        return tower
    finally:
        tower.load_state_dict(before)  # the trial changed BatchNorm's running statistics
        tower.zero_grad()
    return compiled


def keep_freed_memory() -> bool:
    """Keep freed memory in the process; return True if the C library allows it.

    glibc returns large blocks to the system at once, and getting them back costs a page fault
    every 4 kB: about a fifth of a toy training step.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # as in glibc's malloc.h
    settings = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 * 2**20))
    return all(ctypes.CDLL(None).mallopt(name, value) == 1 for name, value in settings)


def _warn_of_repeats(batches: TrainingBatches) -> None:
    """Report before the first step if repeated captions keep the loss far above its floor."""
    counts = batches.captions.value_counts().field("counts").to_numpy()
    best, (floor, chance, _) = best_loss(batches.preset, counts), loss_range(batches.preset, 1.0)
    if best > floor + 0.1 * (chance - floor):
        found = f"{counts.sum()} pairs have {len(counts)} distinct captions"
        least = f"the loss cannot fall below about {best:.2f} (chance {chance:.2f})"
        _tell(f"note: {found}; {least}: filter out repeated captions")


def _tell(note: str) -> None:
    tqdm.write(note, file=sys.stderr)  # above a live line


def _vocabulary_of(start: Path, tokenizer: Tokenizer | None) -> Tokenizer:
    """Return the vocabulary of the run to begin with."""
    if tokenizer is not None:
        raise InputError(f"{start}: starting from a run takes its vocabulary; leave yours out")
    if not (weights := start / "model.safetensors").exists():
        raise InputError(f"{weights}: no such file; start from the folder of a finished run")
    return load_wordpiece(start / "tokenizer.json")


def _fingerprint_of(source: PairSource) -> str:
    """Return the SHA-256 of all keys, captions and image sizes, in the order of the pairs."""
    digest = hashlib.sha256(source.places[:, 2].tobytes())
    for key, caption in zip(source.keys, source.captions, strict=True):
        digest.update(f"{key}\0{caption}\0".encode())
    return digest.hexdigest()
