"""The background of every place."""

from collections.abc import Callable

from align_edu.world.brush import Brush, Dice
from align_edu.world.places_indoor import kitchen, library, room, space, stage, underwater
from align_edu.world.places_settled import farm, night_city, park, street
from align_edu.world.places_wild import beach, desert, forest, meadow, mountains, snow
from align_edu.world.scene import Scene
from align_edu.world.weather import evening_light

Painter = Callable[[Brush, Scene, Dice], None]

PAINTERS: dict[str, Painter] = {
    "room": room,
    "beach": beach,
    "street": street,
    "forest": forest,
    "night city": night_city,
    "meadow": meadow,
    "kitchen": kitchen,
    "snow": snow,
    "mountains": mountains,
    "park": park,
    "farm": farm,
    "desert": desert,
    "library": library,
    "stage": stage,
    "underwater": underwater,
    "space": space,
}


def paint_place(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Paint the place of the scene over the whole picture.

    Parameters
    ----------
    brush : the brush, its light already set.
    scene : the scene.
    dice : the source of randomness.
    """
    PAINTERS[scene.place](brush, scene, dice)
    evening_light(brush, scene, dice)
