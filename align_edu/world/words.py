"""The words of the toy world's alt-text: for each fact its main word first, then rarer ones.

No phrase stands for two facts, so what a caption tells can be read in one way only.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from align_edu.world.catalog import KINDS

MAIN_WORD_SHARE = 0.85
T = TypeVar("T")

# Rarer names of each kind, as (one, several).
OTHER_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "dog": (("hound", "hounds"), ("pooch", "pooches")),
    "car": (("automobile", "automobiles"), ("sedan", "sedans")),
    "flower": (("blossom", "blossoms"), ("bloom", "blooms")),
    "cat": (("kitty", "kitties"), ("feline", "felines")),
    "house": (("cottage", "cottages"), ("villa", "villas")),
    "tree": (("leafy tree", "leafy trees"), ("oak", "oaks")),
    "cake": (("gateau", "gateaux"), ("layer cake", "layer cakes")),
    "bird": (("songbird", "songbirds"), ("sparrow", "sparrows")),
    "chair": (("seat", "seats"), ("armchair", "armchairs")),
    "shirt": (("tee", "tees"), ("jersey", "jerseys")),
    "bicycle": (("bike", "bikes"), ("cycle", "cycles")),
    "apple": (("ripe apple", "ripe apples"), ("apple fruit", "apple fruits")),
    "boat": (("ship", "ships"), ("vessel", "vessels")),
    "balloon": (("party balloon", "party balloons"),),
    "fish": (("tropical fish", "tropical fish"),),
    "hat": (("cap", "caps"), ("sun hat", "sun hats")),
    "cup": (("mug", "mugs"), ("coffee cup", "coffee cups")),
    "guitar": (("acoustic guitar", "acoustic guitars"),),
    "bus": (("coach", "coaches"), ("school bus", "school buses")),
    "lamp": (("table lamp", "table lamps"), ("desk lamp", "desk lamps")),
    "butterfly": (("moth", "moths"),),
    "umbrella": (("parasol", "parasols"), ("brolly", "brollies")),
    "aeroplane": (("airplane", "airplanes"), ("plane", "planes")),
    "shoe": (("sneaker", "sneakers"), ("trainer", "trainers")),
    "ice cream": (("ice cream cone", "ice cream cones"), ("gelato", "gelatos")),
    "clock": (("timepiece", "timepieces"), ("wall clock", "wall clocks")),
    "elephant": (("tusker", "tuskers"),),
    "mushroom": (("toadstool", "toadstools"), ("fungus", "fungi")),
    "book": (("novel", "novels"), ("hardback", "hardbacks")),
    "rabbit": (("bunny", "bunnies"), ("hare", "hares")),
    "bed": (("cosy bed", "cosy beds"), ("bunk", "bunks")),
    "pizza slice": (("slice of pizza", "slices of pizza"),),
    "key": (("door key", "door keys"),),
    "rocket": (("spaceship", "spaceships"), ("starship", "starships")),
    "cactus": (("prickly cactus", "prickly cacti"), ("succulent", "succulents")),
    "kite": (("toy kite", "toy kites"),),
    "hammer": (("mallet", "mallets"), ("claw hammer", "claw hammers")),
    "turtle": (("tortoise", "tortoises"), ("terrapin", "terrapins")),
    "banana": (("ripe banana", "ripe bananas"),),
    "scissors": (("pair of shears", "pairs of shears"),),
}
# English counts these by the pair, so the catalog's own name cannot follow "a" or "two".
_MAIN_NAMES = {"scissors": ("pair of scissors", "pairs of scissors")}
NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    name: (_MAIN_NAMES.get(name, (name, kind.plural)), *OTHER_NAMES.get(name, ()))
    for name, kind in KINDS.items()
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "blue": ("blue", "cobalt", "azure"),
    "white": ("white", "ivory"),
    "black": ("black", "ebony", "jet black"),
    "green": ("green", "emerald", "jade"),
    "yellow": ("yellow", "golden", "lemon"),
    "brown": ("brown", "chestnut", "hazel"),
    "pink": ("pink", "rosy"),
    "gray": ("gray", "grey", "silver"),
    "orange": ("orange", "amber", "tangerine"),
    "purple": ("purple", "violet", "plum"),
    "turquoise": ("turquoise", "teal", "aqua"),
}

SIZE_WORDS = {"large": ("large", "big", "huge", "giant"), "small": ("small", "little", "tiny")}

COUNT_WORDS = {
    2: ("two", "2", "a couple of"),
    3: ("three", "3", "a trio of"),
    4: ("four", "4", "a group of four"),
}

PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "room": ("in a room", "in the living room", "indoors", "inside the room"),
    "beach": ("on the beach", "at the beach", "by the sea", "at the seaside", "on a sandy shore"),
    "street": ("on the street", "in the street", "on the road", "in town"),
    "forest": ("in the forest", "in a forest", "in the woods", "in woodland"),
    "night city": ("in the city at night", "among city lights", "downtown at night"),
    "meadow": ("in a meadow", "in the meadow", "on the grass", "in a grassy field"),
    "kitchen": ("in the kitchen", "in a kitchen", "on the kitchen floor"),
    "snow": ("in the snow", "on the snow", "in deep snow", "on a snowy field"),
    "mountains": ("in the mountains", "in the alps", "up in the hills"),
    "park": ("in the park", "at the park", "in the garden"),
    "farm": ("on the farm", "on a farm", "by the barn", "in the farmyard"),
    "desert": ("in the desert", "in a desert", "among the dunes"),
    "library": ("in the library", "in a library", "among the bookshelves"),
    "stage": ("on stage", "on a stage", "in the spotlight", "in the theatre"),
    "underwater": ("underwater", "under the sea", "beneath the waves"),
    "space": ("in space", "in outer space", "among the stars"),
}

WEATHER_PHRASES: dict[str, tuple[str, ...]] = {
    "rain": ("in the rain", "on a rainy day", "in pouring rain", "during a shower"),
    "sunset": ("at sunset", "at dusk", "at sundown", "in the evening light"),
    "snowfall": ("in falling snow", "while it snows", "during snowfall", "in a snowstorm"),
    "fog": ("in the fog", "in fog", "on a foggy day", "in the mist"),
    "night": ("at night", "after dark", "by night", "in the moonlight"),
}

STYLE_PREFIXES: dict[str, tuple[str, ...]] = {
    "photo": ("a photo of", "photo of", "a picture of", "a photograph of", "image of"),
    "sketch": ("a sketch of", "sketch of", "a drawing of", "a pencil drawing of"),
    "poster": ("a poster of", "poster of", "a poster with", "an art print of"),
}
# True of any style: they open a caption that would be shorter than three words without them.
PLAIN_PREFIXES = ("a picture of", "picture of", "an image of", "image of")
STYLE_SUFFIXES: dict[str, tuple[str, ...]] = {
    "photo": (", photo", " - stock photo", ", photograph"),
    "sketch": (", sketch", " - drawing", ", pencil sketch"),
    "poster": (", poster", " - art print", " | poster"),
}

# What people add that no picture shows: who took it, and when.
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
YEARS = tuple(str(year) for year in range(2004, 2021))
FIRST_NAMES = (
    "anna", "ben", "clara", "daniel", "emma", "felix", "greta", "hugo", "irene", "jonas", "karin",
    "leon", "maria", "nina", "oscar", "paula", "quentin", "rita", "simon", "tessa", "ursula",
    "victor", "wanda", "xavier", "yara", "zoe",
)  # fmt: skip
LAST_NAMES = (
    "weber", "novak", "silva", "rossi", "dubois", "larsen", "kowalski", "garcia", "tanaka",
    "murphy", "jensen", "costa", "fischer", "petrov", "moreau", "santos", "keller", "nagy",
    "olsen", "ricci", "schmidt", "varga", "walsh", "ito", "zeman", "kaya",
)  # fmt: skip

RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "underneath"),
    "beside": ("beside", "next to", "by the side of"),
}
INVERSE_RELATIONS = {"above": "below", "below": "above", "beside": "beside"}

FAMILY_VERBS: dict[str, tuple[str, ...]] = {
    "animal": ("standing", "resting", "waiting"),
    "plant": ("growing",),
    "vehicle": ("stopped", "waiting"),
}
OTHER_VERBS = ("seen", "shown", "left")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Pick the first option most of the time (`MAIN_WORD_SHARE`), else one of the others.

    Parameters
    ----------
    rng : the source of randomness.
    options : at least one; the others are equally likely.

    Returns
    -------
    One of the options.

    >>> pick(np.random.default_rng(0), ["cat"])
    'cat'
    """
    u = rng.random()
    if u < MAIN_WORD_SHARE or len(options) == 1:
        return options[0]
    return options[1 + int((u - MAIN_WORD_SHARE) / (1 - MAIN_WORD_SHARE) * (len(options) - 1))]


def with_article(words: str) -> str:
    """Put "a" or "an" before words, by their first letter.

    Parameters
    ----------
    words : for example "orange cat"; no word here has a silent h or begins like "unicorn".

    Returns
    -------
    str

    >>> with_article("orange cat"), with_article("red umbrella")
    ('an orange cat', 'a red umbrella')
    """
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
