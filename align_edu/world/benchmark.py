"""The toy benchmark: unique scenes, five captions each, Karpathy JSON, ratings; search by kind."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from align_edu.io import InputError, write_json, write_once, written_whole
from align_edu.world.alt_text import full_captions, plain_words
from align_edu.world.catalog import INVERSE_RELATIONS, NOUNS, with_article
from align_edu.world.draw import check_drawing, check_range, draw
from align_edu.world.scene import Scene, child_rng, edited, is_held_out, sample_scene, scene_facts
from align_edu.world.web_noise import CLEAN_QUALITY, benchmark_scenes, jpeg_bytes

if TYPE_CHECKING:
    from align_edu.evaluation.embed import Encoder

CAPTIONS = 5
HELD_OUT_SHARE = 0.15  # of the test scenes: those with a composition hidden from training
RECORD = "dataset_toy.json"  # Karpathy's format
MOST_TRIES = 20_000  # for one more scene that no other is mistaken for
# The facts in which near twins differ. A twin that cannot differ in one tries the next.
TWIN_FACTS = ("object", "colour", "place", "count", "weather", "style")
# What each fact adds to a rating where two scenes agree on it; the objects add the rest of 5.
_WEIGHTS = {"place": 1.25, "weather": 0.4, "style": 0.4, "count": 0.25, "size": 0.2}
_OBJECTS = 5.0 - sum(_WEIGHTS.values())
_KIND, _COLOUR = 0.7, 0.3  # of an object's part
SIMILAR, RANDOM = 3, 3  # other scenes that each one is rated against
TOP = 10  # pictures that a search by kind finds


def write_benchmark(out: Path, made_with: dict[str, int], progress: bool = False) -> Path:
    """Write `dataset_toy.json`, `images/` and `cxc/` (ratings); see `World.write_benchmark`."""
    check_drawing(made_with["seed"], made_with["image_size"])
    check_range("scenes", made_with["scenes"], 1)
    check_range("train", made_with.get("train", 0), 0)
    check_range("twins", made_with.get("twins", 0), 0, made_with["scenes"] - 1)
    return write_once(out, RECORD, made_with, lambda part: _fill(part, made_with, progress))


def _fill(folder: Path, made_with: dict[str, int], progress: bool) -> None:
    (folder / "images").mkdir()
    tests, train, twins = (made_with.get(name, 0) for name in ("scenes", "train", "twins"))
    scenes = _unique_scenes(made_with["seed"], tests, train, twins)
    bar = tqdm(scenes, "drawing the benchmark", tests + train, unit=" scenes", disable=not progress)
    rows: list[dict[str, Any]] = []
    drawn = []
    for number, (scene, twin_of, rng) in enumerate(bar):
        name, numbers = f"{number:06d}.jpg", range(number * CAPTIONS, (number + 1) * CAPTIONS)
        sentences = [
            {"raw": text, "tokens": plain_words(text), "imgid": number, "sentid": sentid}
            for sentid, text in zip(numbers, full_captions(scene, rng, CAPTIONS))
        ]
        row = {"filename": name, "imgid": number, "split": "test" if number < tests else "train"}
        row |= {"sentids": [*numbers], "sentences": sentences}
        row |= {"held_out": is_held_out(scene), "scene": scene_facts(scene)}
        rows.append(row | ({"twin_of": twin_of} if twins else {}))
        drawn.append(scene)
        jpeg = jpeg_bytes(draw(scene, rng, made_with["image_size"]), CLEAN_QUALITY)
        (folder / "images" / name).write_bytes(jpeg)
    names = [row["filename"] for row in rows[:tests]]
    write_ratings(folder / "cxc", names, drawn[:tests], made_with["seed"])
    write_json(folder / RECORD, {"images": rows, "dataset": "toy", "made_with": made_with})


def _unique_scenes(
    seed: int, n: int, train: int, twins: int
) -> Iterator[tuple[Scene, int | None, np.random.Generator]]:
    """Yield n + train scenes, none of which satisfies another's full caption, and generators.

    Each test scene is followed by its near twins, which come with its number.
    """
    near: dict[Any, list[Scene]] = defaultdict(list)  # by place and object
    first: Scene | None = None
    for number in range(n + train):
        rng = child_rng(seed, "benchmark", number)
        held_out = rng.random() < HELD_OUT_SHARE and number < n
        place = number % (twins + 1) if number < n else 0
        first = first if place else None
        for tried in range(MOST_TRIES):
            twin = first is not None and tried < len(TWIN_FACTS) * 20
            if first is not None and twin:
                scene = _near_twin(TWIN_FACTS[(place - 1 + tried) % len(TWIN_FACTS)], first, rng)
            else:
                scene = sample_scene(rng, held_out=held_out)
            if scene is None:
                continue
            rivals = [old for thing in scene.things for old in near[scene.place, thing]]
            if not any(satisfies(old, scene) or satisfies(scene, old) for old in rivals):
                break
        else:
            found = f"only {number} were found that no caption confuses"
            raise InputError(f"scenes {n + train}: {found}; ask for fewer")
        for thing in scene.things:
            near[scene.place, thing].append(scene)
        first = first or scene
        yield scene, number - place if twin else None, rng


def _near_twin(fact: str, scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The scene with another value of this fact; None where that changes no fact or several."""
    twin = edited(fact, scene, rng) or scene
    before, after = scene_facts(scene), scene_facts(twin)
    return twin if sum(before[name] != after[name] for name in before) == 1 else None


def satisfies(scene: Scene, source: Scene) -> bool:
    """Return True if a full caption of `source`, which omits what is usual, is true of `scene`."""
    if not (
        source.place == scene.place
        and source.weather in ("clear", scene.weather)
        and source.style in ("photo", scene.style)
    ):
        return False
    same_size = source.size in ("medium", scene.size)
    same_main = source.thing == scene.thing and source.count in (1, scene.count) and same_size
    # A second object is one of unknown size, so "large" or "two" is not true of it.
    as_other = source.thing == scene.other and source.count == 1 and source.size == "medium"
    if source.other is None or source.relation is None:
        return same_main or as_other
    if same_main and (source.other, source.relation) == (scene.other, scene.relation):
        return True
    turned = INVERSE_RELATIONS[source.relation] == scene.relation
    return as_other and source.other == scene.thing and turned


def rate(a: Scene, b: Scene) -> float:
    """Return the similarity of two scenes: 0 (nothing in common) to 5 (all facts).

    Each object counts by its best counterpart, averaged over the objects of both scenes.
    """
    same = {
        (x, y): _KIND + _COLOUR * (x.colour == y.colour) if x.kind == y.kind else 0.0
        for x in a.things
        for y in b.things
    }
    score = sum(w for fact, w in _WEIGHTS.items() if getattr(a, fact) == getattr(b, fact))
    best = [max(same[x, y] for y in b.things) for x in a.things]
    best += [max(same[x, y] for x in a.things) for y in b.things]
    return score + _OBJECTS * (sum(best) / len(best))


def write_ratings(folder: Path, names: Sequence[str], scenes: Sequence[Scene], seed: int) -> None:
    """Write sts_test.csv, sis_test.csv and sits_test.csv, in the form that CxC publishes.

    names: the image file of each scene; scene i has the captions with ``sentid`` 5 i to 5 i + 4.
    It is rated against three similar others and three random ones; so are captions of one image.
    """
    ends = ("agg_score", "sampling_method")
    tables: dict[str, list[tuple[str, ...]]] = {
        "sts": [("caption1", "caption2", *ends)],
        "sis": [("image1", "image2", *ends)],
        "sits": [("caption", "image", *ends)],
    }
    ids = [f"toy:sentid:{number}" for number in range(CAPTIONS * len(scenes))]
    for i, others in enumerate(_neighbours(scenes, seed)):
        captions = ids[CAPTIONS * i : CAPTIONS * (i + 1)]
        tables["sts"] += [(*two, "5.00", "c2c_cocaption") for two in combinations(captions, 2)]
        tables["sits"] += [(one, names[i], "5.00", "c2i_original") for one in captions]
        for turn, (j, method) in enumerate(others):
            score = f"{rate(scenes[i], scenes[j]):.2f}"
            one, two = captions[turn % CAPTIONS], ids[CAPTIONS * j + (turn + 1) % CAPTIONS]
            tables["sts"].append((one, two, score, f"c2c_{method}"))
            tables["sis"].append((names[i], names[j], score, f"i2i_{method}"))
            tables["sits"].append((one, names[j], score, f"c2i_{method}"))
    for kind, rows in tables.items():
        with written_whole(folder / f"{kind}_test.csv") as beside:
            beside.write_text("".join(f"{','.join(row)}\n" for row in rows), encoding="utf-8")


def _neighbours(scenes: Sequence[Scene], seed: int) -> Iterator[list[tuple[int, str]]]:
    """For each scene, the scenes that it is rated against, and how each was chosen."""
    table = np.array([[s.thing.kind, s.thing.colour, s.place, s.weather, s.style] for s in scenes])
    weights = np.array([_OBJECTS * _KIND, _OBJECTS * _COLOUR, 1.25, 0.4, 0.4])
    for i in range(len(scenes)):
        rng = child_rng(seed, "rating", i)
        alike = ((table == table[i]) * weights).sum(axis=1) + 1e-3 * rng.random(len(scenes))
        alike[i] = -1.0
        near = np.argsort(-alike)[: min(SIMILAR, len(scenes) - 1)].tolist()
        rest = [j for j in range(len(scenes)) if j != i and j not in near]
        far = rng.choice(rest, min(RANDOM, len(rest)), replace=False).tolist() if rest else []
        yield [(j, "similar") for j in near] + [(j, "random") for j in far]


def measure_kind_search(
    run: "Encoder", benchmark: str | Path, *more: str | Path, progress: bool = False
) -> dict[str, Any]:
    """Search the pictures of toy benchmarks for each kind of object by its name: "a cat".

    A picture is right if one of its objects is of the kind. A kind that fewer than ten pictures
    show is measured by those. Returns "precision@10", the mean over the kinds, with its 95 %
    "interval"; that of each kind under "kinds"; the number of "images".
    Raises InputError for a benchmark without scenes.
    """
    import torch

    from align_edu.evaluation.retrieval import bootstrap_interval, embed_gallery, precision_at_k
    from align_edu.pairs.splits import read_split

    shown: list[set[str]] = []
    parts = []
    for folder in (benchmark, *more):
        data, kinds_of = read_split(folder), kinds_shown(folder)
        shown += [kinds_of[path.name] for path in data.images]
        parts.append(embed_gallery(run, data, progress=progress))
    kinds = [kind for kind in NOUNS if any(kind in both for both in shown)]
    relevant = torch.tensor([[kind in both for both in shown] for kind in kinds])  # (K, I)
    texts = run.encode_texts([with_article(NOUNS[kind][0][0]) for kind in kinds]).cpu()
    shares = precision_at_k(texts, torch.cat(parts), relevant, TOP)  # (K,)
    return {
        f"precision@{TOP}": shares.mean().item(),
        "interval": bootstrap_interval(shares),
        "kinds": dict(zip(kinds, shares.tolist(), strict=True)),
        "images": len(shown),
    }


def kinds_shown(benchmark: str | Path) -> dict[str, set[str]]:
    """Return the kinds of object that each picture of a toy benchmark shows, by its file name."""
    scenes = benchmark_scenes(Path(benchmark))
    return {path.name: {thing.kind for thing in scene.things} for path, scene in scenes}
