"""Classification tasks drawn by the toy world: one fact of the scene is the class."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from align_edu.io import InputError, folder_written_whole, holds_already, write_json
from align_edu.world import catalog
from align_edu.world.draw import draw
from align_edu.world.pair import TASK_STREAM, jpeg_bytes
from align_edu.world.scene import HELD_OUT, Scene, Thing, child_rng, is_held_out, sample_scene
from align_edu.world.words import NOUNS, PLACE_PHRASES, WEATHER_PHRASES
from align_edu.world.write import check_seed

SPLITS = ("train", "val", "test")
JPEG_QUALITY = 92
_PLACES = ("", *(f" {phrases[0]}" for phrases in PLACE_PHRASES.values()))
_ONE = tuple(names[0][0] for names in NOUNS.values())
_COUNTED = ("dogs", "cars", "flowers", "cats", "houses", "trees", "cakes", "birds")


@dataclass(frozen=True)
class Task:
    """One classification task.

    kind: "natural", "specialised" or "structured", VTAB's three groups. classes: the value of
    the fact, and the words for it. shown: makes a scene show a value, or gives None where that
    scene cannot. templates: prompts with ``{}``; the first is the plain one.
    """

    kind: str
    classes: dict[Any, str]
    shown: Callable[[Scene, Any], Scene | None]
    templates: tuple[str, ...]


def _alone(scene: Scene, thing: Thing) -> Scene:
    """The same scene with one object and nothing else."""
    return replace(scene, thing=thing, count=1, other=None, relation=None)


def _with_kind(scene: Scene, kind: str) -> Scene:
    return _alone(scene, Thing(kind, scene.thing.colour))


def _with_family(scene: Scene, family: str) -> Scene | None:
    return _alone(scene, scene.thing) if _family(scene) == family else None


def _family(scene: Scene) -> str:
    return catalog.KINDS[scene.thing.kind].family


def _with_colour(scene: Scene, colour: str) -> Scene:
    return _alone(scene, Thing(scene.thing.kind, colour))


def _with_place(scene: Scene, place: str) -> Scene:
    return _alone(replace(scene, place=place, weather="clear"), scene.thing)


def _with_weather(scene: Scene, weather: str) -> Scene | None:
    facts = catalog.PLACES[scene.place]
    return _alone(replace(scene, weather=weather), scene.thing) if facts.daylight else None


def _with_style(scene: Scene, style: str) -> Scene:
    return replace(scene, style=style)


def _with_count(scene: Scene, count: int) -> Scene:
    return replace(_alone(scene, scene.thing), count=count)


def _with_size(scene: Scene, size: str) -> Scene:
    return replace(_alone(scene, scene.thing), size=size)


def _with_relation(scene: Scene, relation: str) -> Scene | None:
    return None if scene.other is None else replace(scene, relation=relation)


def _turned(scene: Scene, quarters: int) -> Scene:
    return scene  # the finished picture is turned


_FAMILIES = sorted({kind.family for kind in catalog.KINDS.values()})
TASKS: dict[str, Task] = {
    "object": Task(
        "natural",
        {kind: names[0][0] for kind, names in NOUNS.items()},
        _with_kind,
        ("a photo of a {}", "a picture of a {}", "an image of a {}", "a drawing of a {}")
        + tuple(f"a {colour} {{}}" for colour in catalog.COLOURS)
        + tuple(f"a {{}}{place}" for place in _PLACES),
    ),
    "family": Task(
        "natural",
        {family: family for family in _FAMILIES},
        _with_family,
        ("a photo of a {}", "a picture of a {}", "a drawing of a {}"),
    ),
    "colour": Task(
        "natural",
        {colour: colour for colour in catalog.COLOURS},
        _with_colour,
        tuple(f"a {{}} {one}" for one in _ONE),
    ),
    "place": Task(
        "natural",
        {place: phrases[0] for place, phrases in PLACE_PHRASES.items()},
        _with_place,
        tuple(f"a {one} {{}}" for one in _ONE),
    ),
    "weather": Task(
        "specialised",
        {weather: phrases[0] for weather, phrases in WEATHER_PHRASES.items()},
        _with_weather,
        tuple(f"a {one} {{}}" for one in _ONE),
    ),
    "style": Task(
        "specialised",
        {style: style for style in catalog.STYLES},
        _with_style,
        tuple(f"a {{}} of a {one}" for one in _ONE),
    ),
    "count": Task(
        "structured",
        {1: "one", 2: "two", 3: "three", 4: "four"},
        _with_count,
        tuple(f"{{}} {several}" for several in _COUNTED),
    ),
    "size": Task(
        "structured",
        {size: size for size in catalog.SIZES},
        _with_size,
        tuple(f"a {{}} {one}" for one in _ONE),
    ),
    "relation": Task(
        "structured",
        {"above": "above", "below": "below", "beside": "next to"},
        _with_relation,
        tuple(f"a {one} {{}} a {_ONE[i - 1]}" for i, one in enumerate(_ONE)),
    ),
    "rotated": Task(
        "structured",
        {0: "upright", 1: "on its left side", 2: "upside down", 3: "on its right side"},
        _turned,
        ("a photo {}", "a picture {}"),
    ),
}


def write_task(
    out: Path,
    task: str,
    *,
    seed: int,
    train: int,
    val: int = 0,
    test: int,
    image_size: int = 128,
    held_out: bool = False,
    progress: bool = False,
) -> Path:
    """Write a classification task as class folders: `SPLIT/CLASS/NUMBER.jpg`.

    Beside them `classes.txt` (folder, tab, words), `templates.txt` (prompts) and `task.json`.
    All classes are equally frequent, or differ by one.

    Parameters
    ----------
    out : folder to write; it appears when all of it is there.
    task : a key of `TASKS`.
    seed : 0 to 4294967295; its random stream is that of no shard and no benchmark.
    train, val, test : pictures of each split; 0 leaves a split out.
    image_size : pixels of each side of a picture.
    held_out : the test pictures show only compositions (kind, colour) that training of the
        towers never sees; for "object" and "colour". All others show none of them.
    progress : whether to show a progress bar on standard error.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If an argument is out of range, the folder holds something else, or the disk is full.

    Paper: Section 5.2 (transfer; VTAB's natural, specialised and structured tasks).

    >>> import tempfile
    >>> out = write_task(Path(tempfile.mkdtemp()) / "t", "style", seed=0, train=3, test=3)
    >>> sorted(file.parent.name for file in out.glob("test/*/*.jpg"))
    ['photo', 'poster', 'sketch']
    """
    sizes = {"train": train, "val": val, "test": test}
    _check(task, seed, sizes, held_out)
    made_with = {"task": task, "seed": seed, **sizes, "image_size": image_size}
    made_with |= {"held_out": held_out, "kind": TASKS[task].kind}
    if holds_already(out, out / "task.json", made_with):
        return out
    with folder_written_whole(out) as unfinished:
        _fill(unfinished, made_with, progress)
    return out


def task_picture(
    task: str, value: Any, rng: np.random.Generator, size: int, held_out: bool = False
) -> Image.Image:
    """Draw one picture of a class; held_out: of a composition that training never sees.

    >>> task_picture("count", 3, np.random.default_rng(0), 58).size
    (58, 58)
    """
    scene = _scene(task, value, rng, held_out)
    picture = draw(scene, rng, size)
    return picture.rotate(90 * value) if task == "rotated" else picture


def _scene(task: str, value: Any, rng: np.random.Generator, held_out: bool) -> Scene:
    while True:
        scene = TASKS[task].shown(sample_scene(rng), value)
        if scene is not None and held_out:
            pairs = [pair for pair in sorted(HELD_OUT) if value in pair]
            scene = _alone(scene, Thing(*pairs[rng.integers(len(pairs))]))
        if scene is not None and is_held_out(scene) == held_out:
            return scene


def _values(task: str, held_out: bool) -> list[Any]:
    """The classes of a task; of held-out pictures those that have any."""
    shown = {value for pair in HELD_OUT for value in pair}
    return [value for value in TASKS[task].classes if not held_out or value in shown]


def _fill(folder: Path, made_with: dict[str, Any], progress: bool) -> None:
    name = made_with["task"]
    task, total = TASKS[name], sum(made_with[split] for split in SPLITS)
    number = list(TASKS).index(name)
    bar = tqdm(desc=f"drawing {name}", total=total, unit=" pictures", disable=not progress)
    folder.mkdir(parents=True)
    for place, split in enumerate(SPLITS):
        unseen = made_with["held_out"] and split == "test"
        values = _values(name, unseen)
        for i in range(made_with[split]):
            rng = child_rng(made_with["seed"], TASK_STREAM, number, place, i)
            value = values[i % len(values)]
            picture = task_picture(name, value, rng, made_with["image_size"], unseen)
            file = folder / split / str(value) / f"{i:05d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(jpeg_bytes(picture, JPEG_QUALITY))
            bar.update()
    bar.close()
    classes = "".join(f"{value}\t{words}\n" for value, words in task.classes.items())
    (folder / "classes.txt").write_text(classes, encoding="utf-8")
    (folder / "templates.txt").write_text("\n".join(task.templates) + "\n", encoding="utf-8")
    write_json(folder / "task.json", {"made_with": made_with})


def _check(task: str, seed: int, sizes: dict[str, int], held_out: bool) -> None:
    check_seed(seed)
    if task not in TASKS:
        raise InputError(f"task {task!r}: not a task of the toy world; choose {', '.join(TASKS)}")
    wrong = [name for name, size in sizes.items() if size < 0]
    if wrong or not any(sizes.values()):
        raise InputError(f"task {task}: pictures of {wrong or 'all splits'} must be more than 0")
    if held_out and task not in ("object", "colour"):
        raise InputError(f"task {task}: only object and colour have held-out compositions")
