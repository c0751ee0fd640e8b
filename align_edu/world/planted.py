"""A planted correlation: in these scenes most things of a kind have one colour."""

import numpy as np

from align_edu.world.catalog import COLOURS, KINDS
from align_edu.world.scene import Scene, Thing, sample_scene

PLANTED_KINDS, PLANTED_COLOURS = tuple(KINDS)[:8], tuple(COLOURS)[:8]


def planted_colour(kind: str, turn: int = 0) -> str:
    """Return the colour that most things of the kind have; another one for each of 8 turns."""
    return PLANTED_COLOURS[(PLANTED_KINDS.index(kind) + turn) % len(PLANTED_COLOURS)]


def lone_scene(thing: Thing, rng: np.random.Generator) -> Scene:
    """Draw a photo of this thing alone, large and in clear weather."""
    place = sample_scene(rng).place
    return Scene(thing, 1, "large", place, "clear", "photo")


def planted_scenes(n: int, share: float, rng: np.random.Generator, turn: int = 0) -> list[Scene]:
    """Draw scenes of one thing each, all kinds alike; a share of them has the planted colour.

    The others share the other colours alike. So over all kinds no colour is more frequent.

    Paper: Section 9 ("reinforcing stereotypes from the web data").

    >>> [scene.thing.colour for scene in planted_scenes(3, 1.0, np.random.default_rng(0))]
    ['red', 'blue', 'white']
    """
    scenes = []
    for i in range(n):
        kind = PLANTED_KINDS[i % len(PLANTED_KINDS)]
        colour = planted_colour(kind, turn)
        if rng.random() >= share:
            others = [each for each in PLANTED_COLOURS if each != colour]
            colour = others[int(rng.random() * len(others))]
        scenes.append(lone_scene(Thing(kind, colour), rng))
    return scenes
