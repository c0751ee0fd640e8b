"""Pairs of scenes that differ in one fact, and the words that tell the difference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from align_edu.world import catalog
from align_edu.world.scene import Scene, Thing, sample_scene
from align_edu.world.words import (
    COUNT_WORDS,
    NOUNS,
    PLACE_PHRASES,
    WEATHER_PHRASES,
    with_article,
)

ATTRIBUTES = ("colour", "place", "object", "weather", "style", "count", "added", "removed")
_TRIES = 1_000


@dataclass(frozen=True)
class Edit:
    """One change of one fact.

    Attributes
    ----------
    attribute : the fact, one of `ATTRIBUTES`.
    before, after : scenes that differ in it alone.
    minus, plus : words for what is taken away and what is added; "" for nothing.
    """

    attribute: str
    before: Scene
    after: Scene
    minus: str
    plus: str


def sample_edit(attribute: str, rng: np.random.Generator) -> Edit:
    """Draw a scene and change one fact of it.

    >>> edit = sample_edit("colour", np.random.default_rng(0))
    >>> edit.before.thing.kind == edit.after.thing.kind, edit.before.place == edit.after.place
    (True, True)
    """
    for _ in range(_TRIES):
        scene = sample_scene(rng)
        edit = _EDITS[attribute](scene, rng)
        if edit is not None and edit.before != edit.after:
            return edit
    raise AssertionError(f"{attribute}: no scene can be changed")


def distractors(edit: Edit, rng: np.random.Generator) -> list[Scene]:
    """Return scenes that are easily taken for the answer, none of which has its facts.

    One as before the change, but with another value of the same fact; one as before, but with
    another fact changed; one with the wanted fact and another object; one drawn at random.
    """
    others = [name for name in ("colour", "place", "object", "style") if name != edit.attribute]
    same = edited(edit.attribute, edit.before, rng)
    changed = edited(others[rng.integers(len(others))], edit.before, rng)
    wanted = edited("place" if edit.attribute == "object" else "object", edit.after, rng)
    found = [same, changed, wanted, sample_scene(rng)]
    return [s for s in found if s is not None and s not in (edit.after, edit.before)]


def edited(attribute: str, scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Return the scene with another value of one fact, or None where it cannot change.

    >>> scene = Scene(Thing("dog", "red"), 1, "medium", "beach", "clear", "photo")
    >>> edited("colour", scene, np.random.default_rng(0)).thing.kind
    'dog'
    """
    edit = _EDITS[attribute](scene, rng)
    return None if edit is None else edit.after


def _other(options: Mapping[Any, object], now: Any, rng: np.random.Generator) -> Any:
    rest = [option for option in options if option != now]
    return rest[rng.integers(len(rest))]


def _colour(scene: Scene, rng: np.random.Generator) -> Edit | None:
    colour = _other(catalog.COLOURS, scene.thing.colour, rng)
    after = replace(scene, thing=Thing(scene.thing.kind, colour))
    return Edit("colour", scene, after, _thing(scene.thing), _thing(after.thing))


def _place(scene: Scene, rng: np.random.Generator) -> Edit | None:
    scene = replace(scene, weather="clear")
    after = replace(scene, place=_other(catalog.PLACES, scene.place, rng))
    return Edit("place", scene, after, PLACE_PHRASES[scene.place][0], PLACE_PHRASES[after.place][0])


def _object(scene: Scene, rng: np.random.Generator) -> Edit | None:
    kind = _other(catalog.KINDS, scene.thing.kind, rng)
    if scene.other is not None and scene.other.kind == kind:
        return None
    after = replace(scene, thing=Thing(kind, scene.thing.colour))
    return Edit("object", scene, after, _named(scene), _named(after))


def _weather(scene: Scene, rng: np.random.Generator) -> Edit | None:
    if scene.weather == "clear" or not catalog.PLACES[scene.place].daylight:
        return None
    weather = _other(WEATHER_PHRASES, scene.weather, rng)
    after = replace(scene, weather=weather)
    return Edit(
        "weather", scene, after, WEATHER_PHRASES[scene.weather][0], WEATHER_PHRASES[weather][0]
    )


def _style(scene: Scene, rng: np.random.Generator) -> Edit | None:
    after = replace(scene, style=_other(catalog.STYLES, scene.style, rng))
    return Edit("style", scene, after, f"a {scene.style}", f"a {after.style}")


def _count(scene: Scene, rng: np.random.Generator) -> Edit | None:
    if scene.other is not None:
        return None
    after = replace(scene, count=_other(catalog.COUNTS, scene.count, rng))
    return Edit("count", scene, after, _named(scene), _named(after))


def _added(scene: Scene, rng: np.random.Generator) -> Edit | None:
    if scene.other is not None or scene.count > 1:
        return None
    thing = Thing(_other(catalog.KINDS, scene.thing.kind, rng), _other(catalog.COLOURS, "", rng))
    after = replace(scene, other=thing, relation="beside")
    return Edit("added", scene, after, "", _thing(thing))


def _removed(scene: Scene, rng: np.random.Generator) -> Edit | None:
    if scene.other is None:
        return None
    after = replace(scene, other=None, relation=None)
    return Edit("removed", scene, after, _thing(scene.other), "")


def _thing(thing: Thing) -> str:
    return with_article(f"{thing.colour} {NOUNS[thing.kind][0][0]}")


def _named(scene: Scene) -> str:
    """The main object, with its number."""
    one, several = NOUNS[scene.thing.kind][0]
    return with_article(one) if scene.count == 1 else f"{COUNT_WORDS[scene.count][0]} {several}"


_EDITS: dict[str, Callable[[Scene, np.random.Generator], Edit | None]] = {
    "colour": _colour,
    "place": _place,
    "object": _object,
    "weather": _weather,
    "style": _style,
    "count": _count,
    "added": _added,
    "removed": _removed,
}
