"""Pairs of scenes that differ in one fact, and the words for the difference."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from align_edu.world import catalog
from align_edu.world.scene import Scene, Thing, sample_scene
from align_edu.world.words import COUNT_WORDS, NOUNS, PLACE_PHRASES, WEATHER_PHRASES, with_article

ATTRIBUTES = ("colour", "place", "object", "weather", "style", "count", "added", "removed")
_TRIES = 1_000


@dataclass(frozen=True)
class Edit:
    """One change of one fact."""

    attribute: str  # the fact, one of ATTRIBUTES
    before: Scene
    after: Scene  # differs from `before` in this fact alone
    minus: str  # words for what is taken away; "" for nothing
    plus: str  # words for what is added; "" for nothing


def sample_edit(attribute: str, rng: np.random.Generator) -> Edit:
    """Draw a scene and change one fact of it.

    >>> edit = sample_edit("colour", np.random.default_rng(0))
    >>> edit.before.thing.kind == edit.after.thing.kind, edit.before.place == edit.after.place
    (True, True)
    """
    for _ in range(_TRIES):
        before = sample_scene(rng)
        before = replace(before, weather="clear") if attribute == "place" else before
        after = edited(attribute, before, rng)
        if after is not None and after != before:
            minus, plus = (_words(attribute, scene) for scene in (before, after))
            return Edit(attribute, before, after, minus, plus)
    raise AssertionError(f"{attribute}: no scene can be changed")


def distractors(edit: Edit, rng: np.random.Generator) -> list[Scene]:
    """Return scenes that are easily mistaken for the edited one, none of which equals it.

    One has another value of the edited fact; one has another fact changed; one has the edited
    fact but another object; one is drawn at random.
    """
    others = [name for name in ("colour", "place", "object", "style") if name != edit.attribute]
    same = edited(edit.attribute, edit.before, rng)
    changed = edited(others[rng.integers(len(others))], edit.before, rng)
    half_right = edited("place" if edit.attribute == "object" else "object", edit.after, rng)
    found = [same, changed, half_right, sample_scene(rng)]
    return [s for s in found if s is not None and s not in (edit.after, edit.before)]


def edited(attribute: str, scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Return the scene with another value of one fact, or None if the fact cannot change.

    A change of place also clears the weather.

    >>> scene = Scene(Thing("dog", "red"), 1, "medium", "beach", "clear", "photo")
    >>> edited("colour", scene, np.random.default_rng(0)).thing.kind
    'dog'
    """
    if attribute in ("colour", "object"):
        return _with_other_thing(attribute, scene, rng)
    if attribute == "place":
        return replace(scene, weather="clear", place=_other(catalog.PLACES, scene.place, rng))
    if attribute == "weather":
        if scene.weather == "clear" or not catalog.PLACES[scene.place].daylight:
            return None
        return replace(scene, weather=_other(WEATHER_PHRASES, scene.weather, rng))
    if attribute == "style":
        return replace(scene, style=_other(catalog.STYLES, scene.style, rng))
    if attribute == "removed":
        return None if scene.other is None else replace(scene, other=None, relation=None)
    if scene.other is not None or (attribute == "added" and scene.count > 1):
        return None
    if attribute == "count":
        return replace(scene, count=_other(catalog.COUNTS, scene.count, rng))
    kind, colour = _other(catalog.KINDS, scene.thing.kind, rng), _other(catalog.COLOURS, "", rng)
    return replace(scene, other=Thing(kind, colour), relation="beside")


def _with_other_thing(attribute: str, scene: Scene, rng: np.random.Generator) -> Scene | None:
    kind, colour = scene.thing.kind, scene.thing.colour
    if attribute == "colour":
        return replace(scene, thing=Thing(kind, _other(catalog.COLOURS, colour, rng)))
    kind = _other(catalog.KINDS, kind, rng)
    twice = scene.other is not None and scene.other.kind == kind
    return None if twice else replace(scene, thing=Thing(kind, colour))


def _other(options: Mapping[Any, object], now: Any, rng: np.random.Generator) -> Any:
    rest = [option for option in options if option != now]
    return rest[rng.integers(len(rest))]


def _words(attribute: str, scene: Scene) -> str:
    """The words for one fact of the scene, such as "a red dog", "two dogs" or "in the rain"."""
    if attribute in ("added", "removed"):
        return "" if scene.other is None else _coloured(scene.other)
    if attribute == "colour":
        return _coloured(scene.thing)
    if attribute in ("object", "count"):
        one, several = NOUNS[scene.thing.kind][0]
        return with_article(one) if scene.count == 1 else f"{COUNT_WORDS[scene.count][0]} {several}"
    if attribute == "style":
        return f"a {scene.style}"
    return (PLACE_PHRASES | WEATHER_PHRASES)[getattr(scene, attribute)][0]


def _coloured(thing: Thing) -> str:
    return with_article(f"{thing.colour} {NOUNS[thing.kind][0][0]}")
