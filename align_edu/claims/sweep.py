"""Makes the data, the runs that have no record yet, and their records.

A record is written last, so a sweep that is killed goes on with the next missing run.
"""

import hashlib
import json
import platform
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from align_edu import claims
from align_edu.claims import TUNING_SEED, VARIANTS, Data, read_record, record_file, settings_of
from align_edu.claims.measures import measure, write_exam
from align_edu.filters import Rules, filter_pairs
from align_edu.io import TrainingStopped, folder_written_whole, only_writer, write_json
from align_edu.model.text_tower import load_wordpiece, save_wordpiece, train_wordpiece
from align_edu.pairs import open_pairs, read_pairs
from align_edu.pairs.shards import write_tar
from align_edu.presets import get_preset
from align_edu.training import train
from align_edu.training.metrics import read_metrics
from align_edu.training.run import Run, software_versions
from align_edu.world import World
from align_edu.world.catalog import KINDS

WORLD_SEED = 7_000  # of every run's raw pairs: another seed of a run is another order of them
CURVE = 30  # points of the loss that a record keeps
RULES = {  # the bounds that leave a rule out; in so few pairs no image has 1,000 texts
    "sides": ["min_side"], "aspect": ["max_aspect"], "shared": ["max_images_per_text"],
    "rare": ["vocabulary_size"], "length": ["min_words", "max_words"],
}  # fmt: skip
Job = tuple[str, int, float | None]  # variant, seed, learning rate


def run_sweep(
    names: list[str], records: Path, work: Path, *, seeds: int | None = None
) -> list[Path]:
    """Make every missing record of the variants, and return their files.

    Two runs go side by side with one thread each; on a GPU, one after the other. records: folder
    of the JSON files. work: folder for data and unfinished runs, which may be deleted afterwards.
    seeds: how many of each variant; None: as many as claims.toml says.
    Raises InputError and TrainingStopped as `train`, InputError where another sweep uses ``work``.
    """
    made: list[Path] = []
    make = partial(make_record, records=records, work=work)
    spawn, side_by_side = get_context("spawn"), 1 if torch.cuda.is_available() else 2
    with only_writer(work):
        write_exam(work / "exam")
        while jobs := list(dict.fromkeys(missing_runs(records, work, names, seeds))):
            for name, _, _ in jobs:
                prepare(VARIANTS[name].data, work, progress=True)
            with ProcessPoolExecutor(side_by_side, spawn, max_tasks_per_child=1) as pool:
                try:
                    made += tqdm(pool.map(make, jobs), "runs", len(jobs))
                except BrokenExecutor:
                    kept = "records that are made are kept, and the same command continues"
                    message = f"{work}: the process of a run ended early; {kept}"
                    raise TrainingStopped(message) from None
    return made


def missing_runs(records: Path, work: Path, names: list[str], seeds: int | None) -> Iterator[Job]:
    """Yield the runs to make next; more follow once rates are chosen and first runs are made."""
    for name in names:
        variant = VARIANTS[name]
        tuning = [(name, TUNING_SEED, rate) for rate in variant.rates]
        if missing := [job for job in tuning if read_record(records, *job) is None]:
            yield from missing
            continue
        rate, start = claims.chosen_rate(records, name), variant.tuned_from
        for seed in range(1, (seeds or variant.seeds) + 1):
            if read_record(records, name, seed, rate) is not None:
                continue
            if start and not (_run_folder(work, start, seed) / "model.safetensors").exists():
                yield start, seed, None
            else:
                yield name, seed, rate


def _run_folder(work: Path, name: str, seed: int, rate: float | None = None) -> Path:
    return work / "runs" / record_file(Path(), name, seed, rate).stem


def make_record(job: Job, records: Path, work: Path) -> Path:
    """Train one run with one thread, measure it, and write its record."""
    name, seed, rate = job
    run = train_run(name, seed, work, rate)
    rows, path = read_metrics(run.folder), record_file(records, name, seed, rate)
    record = {
        "settings": settings_of(name, seed, rate), "curve": curve_of(rows),
        "seconds": rows[-1]["seconds"], "measures": measure(run, work / "exam"),
        "versions": software_versions(),
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }  # fmt: skip
    write_json(path, record)
    if not any(each.tuned_from == name for each in VARIANTS.values()):
        shutil.rmtree(run.folder)
    return path


def train_run(name: str, seed: int, work: Path, rate: float | None = None) -> Run:
    """Make the pairs of a variant and train it with one thread, as its records were made.

    work: folder for data and runs. rate: learning rate; None: the preset's. A run that was begun
    goes on. Raises TrainingStopped as `train`.
    """
    torch.set_num_threads(1)
    variant, folder = VARIANTS[name], _run_folder(work, name, seed, rate)
    data, base = prepare(variant.data, work), variant.tuned_from
    start = _run_folder(work, base, seed) if base else None
    return train(
        variant.preset(rate), [data / "pairs"], folder, steps=variant.steps, seed=seed,
        resume=True, start=start, processes=1, progress=False,
        tokenizer=None if start else load_wordpiece(data / "tokenizer.json"),
    )  # fmt: skip


def curve_of(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return step and loss at ``CURVE`` points of the lines of a run's metrics.jsonl."""
    shown = {round(i) for i in np.linspace(0, len(rows) - 1, CURVE)}
    return [(row["step"], row["loss"]) for i, row in enumerate(rows) if i in shown]


def prepare(data: Data, work: Path, *, progress: bool = False) -> Path:
    """Return a folder with the pairs and the vocabulary, made unless it is there.

    It depends on ``data`` alone, so runs of all seeds share it.
    """
    name = hashlib.sha256(json.dumps(asdict(data), sort_keys=True).encode()).hexdigest()[:12]
    folder, raw = work / "data" / name, work / "raw" / f"{data.pairs}_{data.noise:g}"
    if folder.exists():
        return folder
    toy = get_preset("toy")
    world = World(seed=WORLD_SEED, noise=data.noise, image_size=toy.image.resize)
    pairs = world.write(raw, data.pairs, progress=progress)
    with folder_written_whole(folder) as new:
        if data.filters != "none":
            off = dict.fromkeys(RULES.get(data.filters, []))
            pairs, rules = new / "filtered", replace(Rules(), **off)
            filter_pairs(raw, pairs, rules=rules, progress=progress)
        source = open_pairs([pairs])
        captions, chosen = _captions_and_rows(data, raw, source.keys, source.captions)
        rows = (({"key": source.keys[i], "caption": captions[i]}, i) for i in chosen)
        shard = ((row, ".jpg", source.image_bytes(i)) for row, i in rows)
        write_tar(new / "pairs" / "00000.tar", shard)
        texts = [captions[i] for i in chosen]
        tokenizer = train_wordpiece(texts, toy.text.vocabulary_size, at_most=True)
        save_wordpiece(tokenizer, new / "tokenizer.json")
    return folder


def _captions_and_rows(
    data: Data, raw: Path, keys: Sequence[str], captions: Sequence[str]
) -> tuple[list[str], list[int]]:
    """Return the captions, some of them spoilt, and the rows of the pairs to train on."""
    table = read_pairs(raw).select(["key", "scene"]).to_pydict()
    scenes = dict(zip(table["key"], table["scene"], strict=True))
    kinds = [json.loads(scenes[key])["kind"] for key in keys]
    rng, captions = np.random.default_rng(WORLD_SEED), list(captions)
    if data.wrong:
        order, names, given = rng.permutation(len(keys)).tolist(), list(KINDS), list(captions)
        next_kind = dict(zip(names, names[1:] + names[:1]))
        by_kind: dict[str, list[int]] = {kind: [] for kind in names}
        for row in order:
            by_kind[kinds[row]].append(row)
        donors = rng.integers(2**62, size=len(keys)).tolist()
        for row in order[: round(data.wrong * len(keys))]:
            rows = order if data.how == "random" else by_kind[next_kind[kinds[row]]] or order
            captions[row] = given[rows[donors[row] % len(rows)]]
    seen, chosen = Counter[str](), []
    for row, kind in enumerate(kinds):
        seen[kind] += 1
        if data.per_kind is None or seen[kind] <= data.per_kind:
            chosen.append(row)
    return captions, chosen[: data.first]
