"""Paint in unit coordinates, so that a picture can have any size; light, sky, hills, weather."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from align_edu.world.catalog import PICTURES, Colour, Hues
from align_edu.world.scene import Scene

T = TypeVar("T")
Numbers = Sequence[float]

MOST_NUMBERS = 512  # the busiest picture, snowfall in the night city, takes fewer than 440
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
PAPER = (246, 241, 228)  # of a sketch
HUES = PICTURES["weather"]
THINGS = {
    name: [(colour, form, [*zip(n[::2], n[1::2])]) for colour, form, *n in parts]
    for name, parts in PICTURES["things"].items()
}


class Dice:
    """MOST_NUMBERS random numbers drawn in advance, because one at a time is slow."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.unit = iter(rng.random(MOST_NUMBERS).tolist()).__next__

    def between(self, low: float, high: float) -> float:
        """Return a number, low <= number < high."""
        return low + (high - low) * self.unit()

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self.unit() * len(options))]

    def spread(self, n: int, jitter: float = 1.0) -> Iterator[float]:
        """Yield n numbers from 0 to 1, one at a random point of each n-th."""
        return ((k + self.unit() * jitter) / n for k in range(n))

    def points(self, n: int, top: float, bottom: float) -> Iterator[tuple[float, float]]:
        """Yield n points (x, y) anywhere between two heights."""
        return ((self.unit(), self.between(top, bottom)) for _ in range(n))

    def row(self, start: float, narrowest: float, widest: float) -> Iterator[tuple[float, float]]:
        """Yield x and width of neighbours in a row from somewhere left of 0 until past 1."""
        x = -self.unit() * start
        while x < 1:
            width = self.between(narrowest, widest)
            yield x, width
            x += width

    def between_colours(self, pair: Sequence[Colour]) -> Colour:
        """Return a mixture of two colours."""
        return mix(pair[0], pair[1], self.unit())

    def varied(self, colour: Numbers, darkest: float = -0.14) -> Colour:
        """Return the colour a little lighter or darker."""
        shift = self.between(darkest, 0.14)
        return mix(colour, WHITE if shift > 0 else BLACK, abs(shift))


def mix(colour: Numbers, other: Numbers, part: float) -> Colour:
    """Return the colour with a part of the other one in it: 0 for none, 1 for only the other."""
    (r, g, b), (x, y, z), kept = colour, other, 1.0 - part
    return int(r * kept + x * part), int(g * kept + y * part), int(b * kept + z * part)


class Brush:
    """Paints on a square picture of `side` pixels; x runs right and y down from 0 to 1.

    It paints every colour c as gain * c + bias, three floats each, which is how light, weather
    and paper change the colours of a whole scene at no cost.
    """

    def __init__(self, side: int, flat: bool = False) -> None:
        self.side, self.flat = side, flat
        self.picture = Image.new("RGB", (side, side))
        self._draw = ImageDraw.Draw(self.picture)
        self._soft = ImageDraw.Draw(self.picture, "RGBA")
        self.clear()

    def clear(self) -> None:
        """From now on paint every colour as it is."""
        self.gain: Numbers = (1.0, 1.0, 1.0)
        self.bias: Numbers = (0.0, 0.0, 0.0)

    def tint(self, colour: Numbers, part: float) -> None:
        """From now on mix a part of this colour into every colour."""
        self.gain = [g * (1 - part) for g in self.gain]
        self.bias = [b * (1 - part) + c * part for b, c in zip(self.bias, colour)]

    def ink(self, colour: Numbers) -> Colour:
        """Return the colour as it is painted in the light of the scene."""
        gain, bias = self.gain, self.bias  # never negative, so neither is the result
        r = int(colour[0] * gain[0] + bias[0])
        g = int(colour[1] * gain[1] + bias[1])
        b = int(colour[2] * gain[2] + bias[2])
        return r if r < 255 else 255, g if g < 255 else 255, b if b < 255 else 255

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> Colour:
        """Paint a rectangle and return its colour; x0 <= x1 and y0 <= y1."""
        s = self.side
        corners = (x0 * s, y0 * s, x1 * s - 1, y1 * s - 1)
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            self._draw.rectangle(corners, fill=self.ink(colour))
        return colour

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> Colour:
        """Paint an ellipse around (x, y) and return its colour."""
        s = self.side
        corners = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._draw.ellipse(corners, fill=self.ink(colour))
        return colour

    def ovals(
        self, centres: Iterable[tuple[float, float]], rx: float, ry: float, colour: Colour
    ) -> None:
        """Paint an ellipse around each point."""
        for x, y in centres:
            self.oval(x, y, rx, ry, colour)

    def poly(self, corners: Numbers, colour: Colour) -> Colour:
        """Paint a polygon from x0, y0, x1, y1, ... and return its colour."""
        s = self.side
        self._draw.polygon([c * s for c in corners], fill=self.ink(colour))
        return colour

    def thing(self, name: str, at: Numbers, colours: Hues, w: float = 1, h: float = 0) -> None:
        """Paint a thing of pictures.toml at this point; w and h (0 for w) are its units."""
        (x, y), h, s = at, h or w, self.side
        for colour, form, pairs in THINGS[name]:
            if form == "poly":
                corners = [((x + w * a) * s, (y + h * b) * s) for a, b in pairs]
                self._draw.polygon(corners, self.ink(colours[colour]))
            elif form == "box":
                (a, b), (c, d) = pairs
                self.box(x + w * a, y + h * b, x + w * c, y + h * d, colours[colour])
            else:
                (a, b), (rx, ry) = pairs
                self.oval(x + w * a, y + h * b, w * rx, h * ry, colours[colour])

    def line(self, start: Numbers, end: Numbers, width: float, colour: Numbers) -> None:
        """Paint a straight line; the width is a part of the picture's side."""
        s = self.side
        corners = (start[0] * s, start[1] * s, end[0] * s, end[1] * s)
        self._draw.line(corners, fill=self.ink(colour), width=max(1, round(width * s)))

    def veil(self, corners: Numbers, colour: Numbers, opacity: float) -> None:
        """Paint a transparent polygon; opacity is 0 to 1."""
        ink = (*self.ink(colour), int(opacity * 255))
        self._soft.polygon([c * self.side for c in corners], fill=ink)

    def glow(self, at: Numbers, rx: float, ry: float, colour: Numbers, opacity: float) -> None:
        """Paint a transparent ellipse around the point `at`."""
        s, (x, y) = self.side, at
        corners = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._soft.ellipse(corners, fill=(*self.ink(colour), int(opacity * 255)))

    def fade(self, y0: float, y1: float, top: Numbers, bottom: Numbers, bands: int) -> None:
        """Paint a vertical gradient over the whole width in bands, a quarter of them if flat."""
        bands = -(-bands // 4) if self.flat else bands
        for k in range(bands):
            a = y0 + (y1 - y0) * k / bands
            self.box(0.0, a, 1.0, max(a, y1), mix(top, bottom, k / max(1, bands - 1)))

    def outline(self, pixels: np.ndarray, colour: Colour) -> None:
        """Paint a polygon given in pixels, (n, 2) float32, in exactly this colour."""
        self._draw.polygon(pixels, fill=colour)  # type: ignore[arg-type]


def light(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Set the light in which the background is painted; exposure and warmth vary a little."""
    exposure, warmth = dice.between(0.9, 1.06), dice.between(-0.05, 0.05)
    brush.gain = (exposure * (1 + warmth), exposure, exposure * (1 - warmth))
    if scene.weather != "clear":
        tint = PICTURES["tints"][scene.weather]
        brush.tint(tint["colour"], tint["part"] * dice.between(0.85, 1.1))
    if scene.style == "sketch":
        brush.tint(PAPER, 0.28)


def sky(brush: Brush, scene: Scene, dice: Dice, horizon: float) -> float:
    """Paint the sky of this weather down to y = horizon; return the horizon."""
    top, bottom = PICTURES["skies"][scene.weather]
    kept = brush.gain, brush.bias
    brush.clear()
    if scene.style == "sketch":
        brush.tint(PAPER, 0.28)
    top = dice.varied(top, darkest=-0.1)
    brush.fade(0.0, horizon, top, bottom, 12)
    brush.box(0.0, horizon, 1.0, min(1.0, horizon + 0.1), bottom)
    _sun_moon_clouds(brush, scene.weather, dice, horizon, mix(top, bottom, 0.3))
    brush.gain, brush.bias = kept
    return horizon


def hills(brush: Brush, dice: Dice, base: float, height: float, colour: Colour) -> Colour:
    """Paint a line of hills around y = base and all below it; return the colour."""
    a, b, c, d = (base - height * dice.unit() for _ in range(4))
    saddle = (b + c) / 2 - height * 0.3
    return brush.poly((0, 1, 0, a, 0.18, b, 0.4, saddle, 0.65, c, 0.85, d, 1, a, 1, 1), colour)


def _sun_moon_clouds(brush: Brush, weather: str, dice: Dice, horizon: float, dark: Colour) -> None:
    x, y = dice.between(0.1, 0.9), dice.between(0.06, 0.2)
    if weather == "clear" and dice.unit() < 0.6:
        brush.oval(x, y, 0.055, 0.055, HUES["sun"])
    elif weather == "sunset":
        y = horizon - dice.between(0.0, 0.07)
        brush.glow((x, y), 0.24, 0.24, HUES["sunset_glow"], 0.35)
        brush.oval(x, y, 0.13, 0.13, HUES["sunset_sun"])
    elif weather == "night":
        for _ in range(14):
            r = dice.between(0.005, 0.011)
            brush.oval(dice.unit(), dice.between(0.0, horizon), r, r, HUES["star"])
        brush.thing("moon", (x, y), {"moon": HUES["moon"], "dark": dark})
    clouds = HUES["clouds"].get(weather, {"number": 0, "lowest": 1})
    numbers = clouds["number"]
    for _ in range(numbers if isinstance(numbers, int) else dice.pick(numbers)):
        x, y = dice.unit(), dice.between(0.03, max(0.1, horizon * clouds["lowest"] * 0.75))
        r = dice.between(0.035, 0.075)
        brush.thing("cloud", (x, y), {"cloud": clouds["colour"]}, r)


def evening_light(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Let a low sun shine in from one side."""
    if scene.weather == "sunset":
        at = dice.pick((0.0, 1.0)), dice.between(0.3, 0.5)
        for r in (0.6, 0.48, 0.36, 0.24):
            brush.glow(at, r, r * 0.8, HUES["sunset_light"], 0.12)


def weather_in_front(brush: Brush, weather: str, dice: Dice) -> None:
    """Paint what falls in front of the objects."""
    if weather == "rain":
        slant, length = dice.between(-0.05, 0.05), dice.between(0.1, 0.16)
        for k in range(30):
            x, y = dice.unit(), (k + dice.unit()) / 30 * 1.1 - 0.1
            colour = HUES["light_drop"] if k % 3 else HUES["dark_drop"]
            brush.line((x, y), (x + slant, y + length), 0.011, colour)
    elif weather == "snowfall":
        for k in range(38):
            r = dice.between(0.009, 0.022)
            brush.oval(dice.unit(), (k + dice.unit()) / 38, r, r, HUES["flake"])
    elif weather == "fog":
        for _ in range(3):
            y, h = dice.between(0.1, 0.85), dice.between(0.05, 0.09)
            brush.veil((0, y, 0.5, y - 0.03, 1, y, 1, y + h, 0, y + h), HUES["fog"], 0.3)
