"""What the toy world draws for evaluation: classification tasks, and names in five languages."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from align_edu.io import InputError, write_json, write_once
from align_edu.world import catalog
from align_edu.world.draw import check_drawing, check_range, draw
from align_edu.world.scene import HELD_OUT, Scene, Thing, child_rng, is_held_out, sample_scene
from align_edu.world.web_noise import CLEAN_QUALITY, jpeg_bytes

if TYPE_CHECKING:
    from align_edu.evaluation.languages import Captions, WordPair

SPLITS = ("train", "val", "test")
_ONE = tuple(names[0][0] for names in catalog.NOUNS.values())
_PLACES = {place: phrases[0] for place, phrases in catalog.PLACE_PHRASES.items()}
LANGUAGES = ("de", "fr", "es", "it")  # the columns of web.toml's foreign_nouns
SAME, RELATED, OTHER = 10.0, 5.0, 0.0  # one meaning; one family of kinds; neither
_COUNTED = [names[0][1] for names in list(catalog.NOUNS.values())[:8]]


@dataclass(frozen=True)
class Task:
    """One classification task."""

    kind: str  # "natural", "specialised" or "structured", VTAB's three groups
    classes: dict[Any, str]  # each value of the fact, and the words for it
    shown: Callable[[Scene, Any], Scene | None]  # makes a scene show a value, if it can
    templates: tuple[str, ...]  # prompts with {}; the first is the plain one


def _alone(scene: Scene, **facts: Any) -> Scene:
    """The scene with one object and nothing else, and with other values of these facts."""
    return replace(scene, **({"count": 1, "other": None, "relation": None} | facts))


def _of_each(template: str, words: Iterable[str] = _ONE) -> tuple[str, ...]:
    return tuple(template.replace("NOUN", word) for word in words)


# fmt: off
TASKS: dict[str, Task] = {
    "object": Task("natural", dict(zip(catalog.NOUNS, _ONE)),
        lambda scene, kind: _alone(scene, thing=Thing(kind, scene.thing.colour)),
        ("a photo of a {}", "a picture of a {}", "an image of a {}", "a drawing of a {}",
         *(f"a {colour} {{}}" for colour in catalog.COLOURS), "a {}",
         *(f"a {{}} {place}" for place in _PLACES.values()))),
    "family": Task("natural", {name: name for name in sorted(set(catalog.KINDS.values()))},
        lambda scene, family: _alone(scene) if catalog.KINDS[scene.thing.kind] == family else None,
        ("a photo of a {}", "a picture of a {}", "a drawing of a {}")),
    "colour": Task("natural", {name: name for name in catalog.COLOURS},
        lambda scene, colour: _alone(scene, thing=Thing(scene.thing.kind, colour)),
        _of_each("a {} NOUN")),
    "place": Task("natural", _PLACES,
        lambda scene, place: _alone(scene, place=place, weather="clear"), _of_each("a NOUN {}")),
    "weather": Task("specialised", {n: names[0] for n, names in catalog.WEATHER_PHRASES.items()},
        lambda scene, weather: (
            _alone(scene, weather=weather) if catalog.PLACES[scene.place].daylight else None
        ), _of_each("a NOUN {}")),
    "style": Task("specialised", {name: name for name in catalog.STYLES},
        lambda scene, style: replace(scene, style=style), _of_each("a {} of a NOUN")),
    "count": Task("structured", {1: "one", 2: "two", 3: "three", 4: "four"},
        lambda scene, count: _alone(scene, count=count), _of_each("{} NOUN", _COUNTED)),
    "size": Task("structured", {name: name for name in catalog.SIZES},
        lambda scene, size: _alone(scene, size=size), _of_each("a {} NOUN")),
    "relation": Task("structured", {"above": "above", "below": "below", "beside": "next to"},
        lambda scene, relation: replace(scene, relation=relation) if scene.other else None,
        tuple(f"a {one} {{}} a {_ONE[i - 1]}" for i, one in enumerate(_ONE))),
    # task_picture turns the finished picture.
    "rotated": Task("structured",
        {0: "upright", 1: "on its left side", 2: "upside down", 3: "on its right side"},
        lambda scene, quarters: scene, ("a photo {}", "a picture {}")),
}
# fmt: on


def write_task(out: Path, made_with: dict[str, Any], progress: bool = False) -> Path:
    """Write class folders, words, prompts and `task.json`; see `World.write_task`."""
    task = made_with["task"]
    check_drawing(made_with["seed"], made_with["image_size"])
    if task not in TASKS:
        raise InputError(f"task {task!r}: not a task of the toy world; choose {', '.join(TASKS)}")
    for split in SPLITS:
        check_range(f"task {task}: {split} pictures", made_with[split], 0)
    check_range(f"task {task}: pictures", sum(made_with[split] for split in SPLITS), 1)
    if made_with["held_out"] and task not in ("object", "colour"):
        raise InputError(f"task {task}: only object and colour have held-out compositions")
    made_with = made_with | {"kind": TASKS[task].kind}
    return write_once(out, "task.json", made_with, lambda part: _fill(part, made_with, progress))


def _fill(folder: Path, made_with: dict[str, Any], progress: bool) -> None:
    name = made_with["task"]
    task, total = TASKS[name], sum(made_with[split] for split in SPLITS)
    bar = tqdm(desc=f"drawing {name}", total=total, unit=" pictures", disable=not progress)
    held_out = {value for pair in HELD_OUT for value in pair}
    for place, split in enumerate(SPLITS):
        unseen = made_with["held_out"] and split == "test"
        values = [value for value in task.classes if not unseen or value in held_out]
        for i in range(made_with[split]):
            rng = child_rng(made_with["seed"], "task", list(TASKS).index(name), place, i)
            value = values[i % len(values)]
            picture = task_picture(name, value, rng, made_with["image_size"], unseen)
            file = folder / split / str(value) / f"{i:05d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(jpeg_bytes(picture, CLEAN_QUALITY))
            bar.update()
    bar.close()
    classes = "".join(f"{value}\t{words}\n" for value, words in task.classes.items())
    (folder / "classes.txt").write_text(classes, encoding="utf-8")
    (folder / "templates.txt").write_text("\n".join(task.templates) + "\n", encoding="utf-8")
    write_json(folder / "task.json", {"made_with": made_with})


def task_picture(
    task: str, value: Any, rng: np.random.Generator, size: int, held_out: bool = False
) -> Image.Image:
    """Draw one picture of a class; with `held_out`, of a composition hidden from training."""
    scene = None
    while scene is None or is_held_out(scene) != held_out:
        scene = TASKS[task].shown(sample_scene(rng), value)
        if scene is not None and held_out:
            pairs = [pair for pair in sorted(HELD_OUT) if value in pair]
            scene = _alone(scene, thing=Thing(*pairs[rng.integers(len(pairs))]))
    picture = draw(scene, rng, size)
    return picture.rotate(90 * value) if task == "rotated" else picture


def toy_captions() -> "Captions":
    """Draw a picture of each kind of object, named in English and four other languages."""
    from align_edu.evaluation.languages import Captions

    rngs = map(np.random.default_rng, range(len(catalog.NOUNS)))
    pictures = [task_picture("object", kind, rng, 58) for kind, rng in zip(catalog.NOUNS, rngs)]
    foreign = zip(*(catalog.WEB["foreign_nouns"][kind] for kind in catalog.NOUNS))
    texts = {"en": list(_ONE)} | {name: list(nouns) for name, nouns in zip(LANGUAGES, foreign)}
    return Captions([Path(kind) for kind in catalog.NOUNS], pictures.__getitem__, texts)


def toy_word_pairs() -> "list[WordPair]":
    """Pair names of kinds (N) and of colours (A), each with its synonyms and with the others."""
    from align_edu.evaluation.languages import WordPair

    nouns = {kind: tuple(one for one, _ in names) for kind, names in catalog.NOUNS.items()}
    family = catalog.KINDS | {name: name for name in catalog.COLOUR_WORDS}
    rows = []
    for part, names_of in (("N", nouns), ("A", catalog.COLOUR_WORDS)):
        for main, *synonyms in names_of.values():
            rows += [(main, synonym, SAME, part) for synonym in synonyms]
        for one, two in combinations(names_of, 2):
            score = RELATED if family[one] == family[two] else OTHER
            rows.append((names_of[one][0], names_of[two][0], score, part))
    return [WordPair(*row) for row in rows]
