"""What the toy world holds: kinds of object, colours, places, weather, sizes and styles.

The order inside each table is the order of frequency. Web data is long-tailed, so kinds
follow Zipf's law (the frequency of rank r is proportional to r ** -KIND_EXPONENT), and
colours and places follow a milder form of it. Weather, size, style, count and relation have
their frequency written beside them.
"""

from dataclasses import dataclass

KIND_EXPONENT = 0.55
COLOUR_EXPONENT = 0.25
PLACE_EXPONENT = 0.3
# Scenes with two objects of one kind are drawn again, which leaves 0.16 with a second object.
SECOND_OBJECT_RATE = 0.165
HELD_OUT_ONE_IN = 16


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Parameters
    ----------
    name : the word for one.
    plural : the word for several.
    family : the group it belongs to, such as "animal".
    """

    name: str
    plural: str
    family: str


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a scene happens.

    Parameters
    ----------
    name : its key.
    outdoor : whether weather is seen there; it is always "clear" where it is not.
    daylight : whether the light can turn to "sunset" or "night" there.
    """

    name: str
    outdoor: bool
    daylight: bool


def _kinds(*rows: tuple[str, str, str]) -> dict[str, Kind]:
    return {name: Kind(name, plural, family) for name, plural, family in rows}


def _places(*rows: tuple[str, bool, bool]) -> dict[str, Place]:
    return {name: Place(name, outdoor, daylight) for name, outdoor, daylight in rows}


KINDS: dict[str, Kind] = _kinds(
    ("dog", "dogs", "animal"),
    ("car", "cars", "vehicle"),
    ("flower", "flowers", "plant"),
    ("cat", "cats", "animal"),
    ("house", "houses", "building"),
    ("tree", "trees", "plant"),
    ("cake", "cakes", "food"),
    ("bird", "birds", "animal"),
    ("chair", "chairs", "furniture"),
    ("shirt", "shirts", "clothing"),
    ("bicycle", "bicycles", "vehicle"),
    ("apple", "apples", "food"),
    ("boat", "boats", "vehicle"),
    ("balloon", "balloons", "toy"),
    ("fish", "fish", "animal"),
    ("hat", "hats", "clothing"),
    ("cup", "cups", "kitchenware"),
    ("guitar", "guitars", "instrument"),
    ("bus", "buses", "vehicle"),
    ("lamp", "lamps", "furniture"),
    ("butterfly", "butterflies", "animal"),
    ("umbrella", "umbrellas", "clothing"),
    ("aeroplane", "aeroplanes", "vehicle"),
    ("shoe", "shoes", "clothing"),
    ("ice cream", "ice creams", "food"),
    ("clock", "clocks", "furniture"),
    ("elephant", "elephants", "animal"),
    ("mushroom", "mushrooms", "plant"),
    ("book", "books", "stationery"),
    ("rabbit", "rabbits", "animal"),
    ("bed", "beds", "furniture"),
    ("pizza slice", "pizza slices", "food"),
    ("key", "keys", "tool"),
    ("rocket", "rockets", "vehicle"),
    ("cactus", "cacti", "plant"),
    ("kite", "kites", "toy"),
    ("hammer", "hammers", "tool"),
    ("turtle", "turtles", "animal"),
    ("banana", "bananas", "food"),
    ("scissors", "scissors", "tool"),
)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (216, 36, 40),
    "blue": (38, 84, 214),
    "white": (246, 245, 240),
    "black": (26, 25, 30),
    "green": (44, 152, 58),
    "yellow": (250, 214, 30),
    "brown": (116, 66, 30),
    "pink": (255, 164, 204),
    "gray": (136, 140, 146),
    "orange": (246, 130, 22),
    "purple": (112, 38, 162),
    "turquoise": (40, 206, 200),
}

PLACES: dict[str, Place] = _places(
    ("beach", True, True),
    ("street", True, True),
    ("park", True, True),
    ("forest", True, True),
    ("snow", True, True),
    ("meadow", True, True),
    ("room", False, False),
    ("mountains", True, True),
    ("farm", True, True),
    ("desert", True, True),
    ("night city", True, False),
    ("kitchen", False, False),
    ("library", False, False),
    ("stage", False, False),
    ("underwater", False, False),
    ("space", False, False),
)

# Frequencies of weather are those of an outdoor place with daylight; where "sunset" and
# "night" cannot be, the others share their part.
WEATHER: dict[str, float] = {
    "clear": 0.80,
    "rain": 0.045,
    "sunset": 0.045,
    "snowfall": 0.04,
    "fog": 0.035,
    "night": 0.035,
}
DAYLIGHT_WEATHER = ("sunset", "night")

SIZES: dict[str, float] = {"medium": 0.50, "large": 0.28, "small": 0.22}
STYLES: dict[str, float] = {"photo": 0.80, "poster": 0.10, "sketch": 0.10}
COUNTS: dict[int, float] = {1: 0.80, 2: 0.10, 3: 0.06, 4: 0.04}
RELATIONS: dict[str, float] = {"beside": 0.40, "above": 0.30, "below": 0.30}


def zipf_frequencies(n: int, exponent: float) -> list[float]:
    """Frequencies of n ranks under Zipf's law, adding up to one.

    Parameters
    ----------
    n : number of ranks.
    exponent : how fast the frequency falls; 0 makes all ranks equal.

    Returns
    -------
    list of n floats, highest first.

    >>> [round(f, 3) for f in zipf_frequencies(3, 1.0)]
    [0.545, 0.273, 0.182]
    """
    weights = [(rank + 1) ** -exponent for rank in range(n)]
    total = sum(weights)
    return [weight / total for weight in weights]
