"""Data of experiments: training pairs (how many, how noisy, which filters) and one exam."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from align_edu.io import folder_written_whole
from align_edu.pairs import open_pairs, read_pairs
from align_edu.pairs.shards import write_tar
from align_edu.presets import get_preset
from align_edu.world import World
from align_edu.world.catalog import KINDS

WORLD_SEED = 7_000  # of all raw pairs: another seed of a run is another order of them
RULES = {  # the bounds that leave a rule out; in so few pairs no image has 1,000 texts
    "sides": ["min_side"], "aspect": ["max_aspect"], "shared": ["max_images_per_text"],
    "rare": ["vocabulary_size"], "length": ["min_words", "max_words"],
}  # fmt: skip
EXAM_SEED = 2**32 - 1
PICTURES, TWINS = 2_000, 4  # 400 scenes, each with four that differ from it in one fact
TASKS = ("object", "colour", "place")
TRAINING_PICTURES, TASK_PICTURES = 800, 600


@dataclass(frozen=True)
class TrainingData:
    """Which pairs to train on."""

    pairs: int = 60_000  # of the raw world
    noise: float = 0.25  # of the raw world
    filters: str = "all"  # or "none", or one of RULES, which is then left out
    first: int | None = None  # keep so many pairs
    per_kind: int | None = None  # keep at most so many pairs of a kind of object
    # This share of the captions is replaced: by that of any other pair ("random"), or of a pair
    # that shows another kind of object, always the same one for each kind ("systematic").
    wrong: float = 0.0
    how: str = "random"


def prepare(data: TrainingData, work: Path, *, progress: bool = False) -> Path:
    """Return a folder with the pairs and the vocabulary, made unless it exists.

    It depends on ``data`` alone, so runs of all seeds share it.
    """
    name = hashlib.sha256(json.dumps(asdict(data), sort_keys=True).encode()).hexdigest()[:12]
    folder, raw = work / "data" / name, work / "raw" / f"{data.pairs}_{data.noise:g}"
    if folder.exists():
        return folder
    from align_edu.model.text_tower import save_wordpiece, train_wordpiece

    toy = get_preset("toy")
    world = World(seed=WORLD_SEED, noise=data.noise, image_size=toy.image.resize)
    pairs = world.write(raw, data.pairs, progress=progress)
    with folder_written_whole(folder) as new:
        if data.filters != "none":
            from align_edu.filters import Rules, filter_pairs

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
    data: TrainingData, raw: Path, keys: Sequence[str], captions: Sequence[str]
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


def write_exam(folder: Path) -> None:
    """Write the benchmark and the tasks that every run is measured on; existing ones stay."""
    world = World(seed=EXAM_SEED)
    world.write_benchmark(folder / "benchmark", PICTURES, twins=TWINS, progress=True)
    for task in TASKS:
        train = TRAINING_PICTURES if task == "object" else 0
        out = folder / task
        world.write_task(out, task, train=train, val=0, test=TASK_PICTURES, progress=True)
