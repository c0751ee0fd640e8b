"""Makes the runs that have no record yet, and measures them: hits and misses of each query.

A record is written last, so a sweep that is killed goes on with the next missing run.
"""

import math
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from align_edu import claims
from align_edu.claims import TUNING_SEED, VARIANTS, read_record, record_file, settings_of
from align_edu.evaluation.cxc import evaluate_cxc
from align_edu.evaluation.datasets import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.embed import embed_texts
from align_edu.evaluation.retrieval import embed_gallery, retrieval_ranks
from align_edu.evaluation.zero_shot import class_ranks, class_vectors, neighbour_ranks
from align_edu.io import TrainingStopped, only_writer, write_json
from align_edu.model.text_tower import load_wordpiece
from align_edu.pairs import read_split
from align_edu.training import train
from align_edu.training.metrics import read_metrics
from align_edu.training.run import Run, software_versions
from align_edu.world.arithmetic import ask, make_quiz
from align_edu.world.catalog import NOUNS
from align_edu.world.experiments import EXAM_SEED, TASKS, prepare, write_exam

CURVE = 30  # points of the loss that a record keeps
HEAD = TAIL = 10  # kinds that are called common and rare, of the list by frequency
SIDES = (40, 48, 60, 72)  # pixels that a picture is resized to at test time; training has 48
QUERIES = 100  # of each kind of image ± text query
WEIGHTS = {  # of text and image in a query
    "both": (1.0, 1.0), "both_2_1": (2.0, 1.0), "image_only": (0.0, 1.0), "text_only": (1.0, 0.0),
}  # fmt: skip
WAYS = ("image_to_text", "text_to_image", "text_to_text", "image_to_image")
Job = tuple[str, int, float | None]  # variant, seed, learning rate
GPU, _CPU = torch.cuda.is_available(), torch.backends.cpu.get_cpu_capability()


def run_sweep(names: list[str], records: Path, work: Path, *, seeds: int | None = None) -> None:
    """Make every missing record of the variants.

    Two runs go side by side with one thread each; on a GPU, one after the other. records: folder
    of the JSON files. work: folder for data and unfinished runs, which may be deleted afterwards.
    seeds: how many of each variant; None: as many as claims.toml says.
    Raises InputError and TrainingStopped as `train`, InputError where another sweep uses ``work``.
    """
    make = partial(make_record, records=records, work=work)
    spawn, side_by_side = get_context("spawn"), 1 if GPU else 2
    with only_writer(work):
        write_exam(work / "exam")
        while jobs := list(dict.fromkeys(missing_runs(records, work, names, seeds))):
            for name, _, _ in jobs:
                prepare(VARIANTS[name].data, work, progress=True)
            with ProcessPoolExecutor(side_by_side, spawn, max_tasks_per_child=1) as pool:
                try:
                    list(tqdm(pool.map(make, jobs), "runs", len(jobs)))
                except BrokenExecutor:
                    kept = "finished records are kept, and the same command continues"
                    raise TrainingStopped(f"{work}: a run's process ended early; {kept}") from None


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
        "machine": torch.cuda.get_device_name() if GPU else f"{platform.machine()} {_CPU}",
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
        resume=True, start=start, processes=None if GPU else 1, progress=False,
        tokenizer=None if start else load_wordpiece(data / "tokenizer.json"),
    )  # fmt: skip


def curve_of(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return step and loss at ``CURVE`` points of the lines of a run's metrics.jsonl."""
    shown = {round(i) for i in np.linspace(0, len(rows) - 1, CURVE)}
    return [(row["step"], row["loss"]) for i, row in enumerate(rows) if i in shown]


def measure(run: Run, exam: Path) -> dict[str, str | float]:
    """Return every measure of a run: a string of 1 and 0 by query, or one number.

    twins: near twins, first answers both ways; seen and held_out: of text queries for
    compositions that training shows and never shows. object, colour, place: zero-shot;
    one_prompt: object with one prompt; common and rare: object, kinds at the head and the tail;
    side_N: object at N pixels. neighbours: the nearest of 800 pictures shows the same kind.
    both, both_2_1, image_only, text_only: image plus text at weights 1 : 1 and 1 : 2, or one
    alone; removed and kept: image minus the words for its second object, and the image alone.
    image_to_image and so on: CxC's recall at 1. sigma, sigma_best: ln of σ at the end, and of the
    σ at which the loss is lowest. loss, floor: at the end.

    Paper: Sections 5.1, 6.1 and 7.
    """
    row = read_metrics(run.folder)[-1]
    cxc = evaluate_cxc(run, exam / "benchmark")
    found: dict[str, str | float] = {way: cxc[way]["R@1"] for way in WAYS}
    found |= {"sigma": math.log(row["temperature"]), "loss": row["loss"], "floor": row["floor"]}
    if row["best_temperature"] > 0:  # there is none before the pairs stand out
        found["sigma_best"] = math.log(row["best_temperature"])
    return found | _retrieval(run, exam / "benchmark") | _naming(run, exam) | _sums(run)


def _retrieval(run: Run, folder: Path) -> dict[str, str]:
    split = read_split(folder)
    images, texts = embed_gallery(run, split), embed_texts(run, split.texts)
    ranks = retrieval_ranks(images, texts, split.text_to_image)
    first = [split.text_to_image.index(i) for i in range(len(split.images))]
    by_text = ranks["text_to_image"][first]  # the first caption of each picture asks
    held_out = torch.tensor(split.held_out, dtype=torch.bool)
    return {
        "twins": _hits(torch.cat([ranks["image_to_text"], by_text])),
        "held_out": _hits(by_text[held_out]),
        "seen": _hits(by_text[~held_out]),
    }


def _naming(run: Run, exam: Path) -> dict[str, str]:
    tests = {task: read_labelled(exam / task, "test") for task in TASKS}
    embedded = {task: embed_labelled(run, data) for task, data in tests.items()}
    found = {task: _named(run, data, embedded[task]) for task, data in tests.items()}
    data, images = tests["object"], embedded["object"]
    train = read_labelled(exam / "object", "train")
    nearest = neighbour_ranks(embed_labelled(run, train), train.labels, images, data.labels)
    found["neighbours"] = _hits(nearest)
    found["one_prompt"] = _named(run, data, images, prompts=1)
    by_frequency = [names[0][0] for names in NOUNS.values()]
    for name, kinds in (("common", by_frequency[:HEAD]), ("rare", by_frequency[-TAIL:])):
        pairs = zip(found["object"], data.labels.tolist(), strict=True)
        found[name] = "".join(hit for hit, label in pairs if data.classes[label] in kinds)
    image = run.preset.image
    for side in SIDES:
        larger = replace(image, resize=side, crop=round(side * image.crop / image.resize))
        sized = replace(run, preset=replace(run.preset, image=larger))
        found[f"side_{side}"] = _named(sized, data, embed_labelled(sized, data))
    return found


def _named(run: Run, data: LabelledImages, images: Tensor, prompts: int | None = None) -> str:
    vectors = class_vectors(run, data.classes, data.templates[:prompts])
    return _hits(class_ranks(images, vectors, data.labels))


def _sums(run: Run) -> dict[str, str]:
    quizzes = [make_quiz(run, fact, QUERIES, EXAM_SEED) for fact in (*TASKS, "removed")]
    found = {
        name: "".join(_hits(ask(q, text=text, image=image, minus=False)) for q in quizzes[:-1])
        for name, (text, image) in WEIGHTS.items()
    }
    return found | {"removed": _hits(ask(quizzes[-1])), "kept": _hits(ask(quizzes[-1], text=0.0))}


def _hits(ranks: Tensor) -> str:
    """Return a string with 1 for each query whose first answer is right, else 0."""
    return "".join(str(int(rank == 1)) for rank in ranks.tolist())
