"""Where the objects of a scene stand, how large they are, and how they are turned."""

import math
from dataclasses import dataclass

from align_edu.world.artwork import artwork
from align_edu.world.brush import Dice
from align_edu.world.scene import Scene, Thing

# Longest side of an object as a part of the picture's side.
ALONE = {"small": 0.54, "medium": 0.69, "large": 0.82}
SEVERAL = {"small": 0.24, "medium": 0.31, "large": 0.39}
PAIRED = {"small": 0.28, "medium": 0.37, "large": 0.46}
PARTNER = 0.39

# Objects keep this far from the edges: a random crop to 48 of 58 pixels cuts 0.17 at worst.
MARGIN = 0.09
PAIR_MARGIN = 0.07
SHAKE = 0.012
TURN = 9.0
FREE_TURN = 28.0
FREE_KINDS = frozenset(
    (
        "key",
        "banana",
        "hammer",
        "scissors",
        "guitar",
        "kite",
        "aeroplane",
        "rocket",
        "butterfly",
        "fish",
        "balloon",
        "book",
    )
)
FLYING_KINDS = frozenset(("bird", "butterfly", "balloon", "kite", "aeroplane", "rocket"))

SLOTS: dict[int, list[list[tuple[float, float]]]] = {
    2: [
        [(0.285, 0.5), (0.715, 0.5)],
        [(0.3, 0.36), (0.7, 0.64)],
        [(0.3, 0.64), (0.7, 0.36)],
        [(0.5, 0.285), (0.5, 0.715)],
    ],
    3: [
        [(0.285, 0.3), (0.715, 0.3), (0.5, 0.71)],
        [(0.285, 0.7), (0.715, 0.7), (0.5, 0.29)],
        [(0.3, 0.285), (0.3, 0.715), (0.71, 0.5)],
    ],
    4: [
        [(0.285, 0.285), (0.715, 0.285), (0.285, 0.715), (0.715, 0.715)],
        [(0.28, 0.32), (0.7, 0.27), (0.3, 0.73), (0.72, 0.68)],
    ],
}


@dataclass(frozen=True, slots=True)
class Spot:
    """One object on the picture.

    Parameters
    ----------
    thing : what stands there.
    x, y : its centre, parts of the picture's side.
    scale : its longest side, a part of the picture's side.
    turn : its tilt in radians.
    mirrored : whether it looks to the left.
    stretch : width over height, relative to the artwork.
    """

    thing: Thing
    x: float
    y: float
    scale: float
    turn: float
    mirrored: bool
    stretch: float


def _spot(thing: Thing, x: float, y: float, scale: float, turn: float, dice: Dice) -> Spot:
    widest = FREE_TURN if thing.kind in FREE_KINDS else TURN
    return Spot(
        thing,
        x,
        y,
        scale * dice.between(0.94, 1.02),
        math.radians(dice.between(-widest, widest) * turn),
        dice.unit() < 0.5,
        dice.between(0.93, 1.07),
    )


def _alone(scene: Scene, dice: Dice) -> list[Spot]:
    scale = ALONE[scene.size]
    turns_freely = scene.thing.kind in FREE_KINDS
    across, down = (0.5, 0.5) if turns_freely else artwork(scene.thing.kind).half
    free_x = max(0.0, 0.5 - MARGIN - across * scale)
    free_y = max(0.0, 0.5 - MARGIN - down * scale)
    x = 0.5 + dice.between(-free_x, free_x)
    flies = scene.thing.kind in FLYING_KINDS
    y = 0.5 + free_y * (dice.between(-1.0, 0.4) if flies else dice.between(-0.4, 1.0))
    return [_spot(scene.thing, x, y, scale, 1.0, dice)]


def _several(scene: Scene, dice: Dice) -> list[Spot]:
    scale = SEVERAL[scene.size]
    shake = SHAKE + (SEVERAL["large"] - scale) * 0.4
    return [
        _spot(
            scene.thing,
            x + dice.between(-shake, shake),
            y + dice.between(-shake, shake),
            scale,
            0.5,
            dice,
        )
        for x, y in dice.pick(SLOTS[scene.count])
    ]


def _paired(scene: Scene, other: Thing, dice: Dice) -> list[Spot]:
    """The main object and the other one along one axis, as near or far as the room allows."""
    scale = PAIRED[scene.size]
    room = 1.0 - 2 * PAIR_MARGIN - scale - PARTNER
    gap = room * dice.between(0.2, 0.7)
    start = PAIR_MARGIN + (room - gap) * dice.between(0.2, 0.8)
    first, second = start + scale / 2, start + scale + gap + PARTNER / 2
    if scene.relation == "below":
        first, second = 1.0 - first, 1.0 - second
    if scene.relation == "beside":
        if dice.unit() < 0.5:
            first, second = 1.0 - first, 1.0 - second
        level = dice.between(0.4, 0.62)
        places = [(first, level), (second, level + dice.between(-0.05, 0.05))]
    else:
        middle = dice.between(0.38, 0.62)
        places = [(middle, first), (middle + dice.between(-0.09, 0.09), second)]
    (x, y), (other_x, other_y) = places
    return [
        _spot(scene.thing, x, y, scale, 0.5, dice),
        _spot(other, other_x, other_y, PARTNER, 0.5, dice),
    ]


def lay_out(scene: Scene, dice: Dice) -> list[Spot]:
    """Give every object of the scene a spot where it covers no other.

    Parameters
    ----------
    scene : the scene.
    dice : the source of randomness.

    Returns
    -------
    list of Spot
        The main objects first, then the second one.
    """
    if scene.other is not None:
        return _paired(scene, scene.other, dice)
    if scene.count == 1:
        return _alone(scene, dice)
    return _several(scene, dice)
