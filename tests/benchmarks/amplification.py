"""Record what searches find after training on a planted correlation of kind and colour.

    python tests/benchmarks/amplification.py --out data_samples/recorded_runs/amplification.json

Each run trains the toy preset with one thread on pairs in which a share of the things of each kind
has one colour, and then searches two galleries for the kinds' names: one where all colours are
alike, and one with the colours of its training data. The balanced level has the pairs of another,
with the rare ones repeated. A run that is in the record already is not repeated.
"""

import functools
import platform
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from align_edu.io import read_json
from align_edu.pairs.shards import write_tar
from align_edu.presets import get_preset
from align_edu.training import train
from align_edu.training.metrics import read_metrics
from align_edu.world import scene as planting
from align_edu.world.alt_text import caption
from align_edu.world.catalog import with_article
from align_edu.world.draw import draw
from align_edu.world.scene import PLANTED_COLOURS, PLANTED_KINDS, Scene, Thing, child_rng
from align_edu.world.web_noise import jpeg_bytes
from tests.benchmarks.measure import keep_record, options

PAIRS, BATCH, STEPS, TOP, EACH = 2_000, 64, 100, 10, 8
BALANCED = "85 %, balanced"
LEVELS = {"even": 1 / 8, "60 %": 0.60, "75 %": 0.75, "85 %": 0.85, "95 %": 0.95, BALANCED: 0.85}
WORLD = 19  # the seed of all scenes and drawings


def pairs_of(level: str, scenes: Sequence[Scene], seed: int) -> list[int]:
    """The pairs of one pass: all of them once, or as many of each kind in each colour."""
    rows = list(range(len(scenes)))
    if level != BALANCED:
        return rows
    chosen, rng = list[int](), child_rng(WORLD, 3, seed)
    for thing in product(PLANTED_KINDS, PLANTED_COLOURS):
        fit = [i for i in rows if scenes[i].thing == Thing(*thing)]
        if fit:  # what the data never shows cannot be balanced
            chosen += np.resize(rng.permutation(fit), len(rows) // 64).tolist()
    return chosen


def even_gallery() -> list[Scene]:
    things = product(PLANTED_KINDS, PLANTED_COLOURS)
    rng = child_rng(WORLD, 4)
    return [planting.lone_scene(Thing(*thing), rng) for thing in things for _ in range(EACH)]


@functools.cache
def photo(scene: Scene, number: int) -> Any:
    return draw(scene, child_rng(WORLD, 2, number))


def one_run(level: str, seed: int, work: Path) -> dict[str, Any]:
    """Train, and return what the first ``TOP`` of each search show: kind, colour and number."""
    rng, preset = child_rng(WORLD, 0, seed), get_preset("toy")
    scenes = planting.planted_scenes(PAIRS, LEVELS[level], rng, turn=seed)
    chosen = pairs_of(level, scenes, seed)

    def pair(key: int, i: int) -> tuple[dict[str, Any], str, bytes]:
        rng = child_rng(WORLD, 1, seed, i)
        row = {"key": f"{key:09d}", "caption": caption(scenes[i], rng)}
        return row, ".jpg", jpeg_bytes(draw(scenes[i], rng))

    (work / "data").mkdir()
    write_tar(work / "data" / "00000.tar", (pair(key, i) for key, i in enumerate(chosen)))
    preset = replace(preset, recipe=replace(preset.recipe, batch_size=BATCH))
    run = train(
        preset, [work / "data"], work / "run", steps=STEPS, seed=seed, processes=1, progress=False
    )
    things = Counter(scenes[i].thing for i in chosen)
    planted = sum(
        things[Thing(kind, planting.planted_colour(kind, seed))] for kind in PLANTED_KINDS
    )
    rows = read_metrics(run.folder)
    result = {"data": planted / len(chosen), "pictures": len(set(chosen)), "loss": rows[-1]["loss"]}
    queries = run.encode_texts([f"a photo of {with_article(kind)}" for kind in PLANTED_KINDS])
    like_data = planting.planted_scenes(
        len(even_gallery()), LEVELS[level], child_rng(WORLD, 5, seed), seed
    )
    for name, gallery in (("even", even_gallery()), ("like the data", like_data)):
        vectors = run.encode_images([photo(scene, i) for i, scene in enumerate(gallery)])
        found = (queries @ vectors.T).topk(TOP).indices.tolist()
        result[name] = [
            [[gallery[i].thing.kind, gallery[i].thing.colour, i] for i in row] for row in found
        ]
    return result | {"seconds": round(rows[-1]["seconds"])}


if __name__ == "__main__":
    args = options(__doc__, out="", seeds=3)
    torch.set_num_threads(1)
    old = read_json(Path(args.out)) if args.out and Path(args.out).exists() else {}
    runs: dict[str, dict[str, Any]] = old.get("runs", {})
    about = {"command": " ".join(__doc__.split("\n\n")[1].split()), "pairs": PAIRS, "batch": BATCH}
    about |= {"steps": STEPS, "world": WORLD, "levels": LEVELS, "each": EACH}
    machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    for seed, level in product(range(1, args.seeds + 1), LEVELS):
        key = f"{level}, seed {seed}"
        if key not in runs:
            with tempfile.TemporaryDirectory() as folder:
                runs[key] = one_run(level, seed, Path(folder))
            done = list(range(1, seed + (level == BALANCED)))  # the last level of a seed
            record = {"settings": about | {"seeds": done}, "machine": machine, "runs": runs}
            keep_record(args.out, record)
        print(f"{key:24} share planted in the data {runs[key]['data']:.2f}", flush=True)
