"""Painting in unit coordinates, so that one picture can be drawn at any size."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

from align_edu.world.catalog import Colour

T = TypeVar("T")
Numbers = Sequence[float]

MOST_NUMBERS = 512  # the busiest picture, snowfall in the night city, takes fewer than 440
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Dice:
    """MOST_NUMBERS random numbers drawn in advance, because one at a time is slow.

    >>> dice = Dice(np.random.default_rng(0))
    >>> 2.0 <= dice.between(2.0, 3.0) < 3.0
    True
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.unit = iter(rng.random(MOST_NUMBERS).tolist()).__next__

    def between(self, low: float, high: float) -> float:
        """Return a number, low <= number < high."""
        return low + (high - low) * self.unit()

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self.unit() * len(options))]

    def count(self, low: int, high: int) -> int:
        """Return a whole number, low <= number <= high."""
        return low + int(self.unit() * (high - low + 1))

    def spread(self, n: int, jitter: float = 1.0) -> Iterator[float]:
        """Yield n numbers from 0 to 1, one at a random point of each n-th."""
        return ((k + self.unit() * jitter) / n for k in range(n))

    def between_colours(self, pair: Sequence[Colour]) -> Colour:
        """Return a mixture of two colours."""
        first, second = pair
        return mix(first, second, self.unit())

    def varied(self, colour: Numbers) -> Colour:
        """Return the colour a little lighter or darker."""
        shift = self.between(-0.14, 0.14)
        return mix(colour, WHITE if shift > 0 else BLACK, abs(shift))


def mix(colour: Numbers, other: Numbers, part: float) -> Colour:
    """Return the colour with a part of the other one in it: 0 for none, 1 for only the other.

    >>> mix((0, 0, 0), (200, 100, 50), 0.5)
    (100, 50, 25)
    """
    kept = 1.0 - part
    return (
        int(colour[0] * kept + other[0] * part),
        int(colour[1] * kept + other[1] * part),
        int(colour[2] * kept + other[2] * part),
    )


class Brush:
    """Paints on a square picture of `side` pixels; x runs right and y down from 0 to 1.

    It paints every colour c as gain * c + bias, three floats each, which is how light, weather
    and paper change the colours of a whole scene at no cost.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.picture = Image.new("RGB", (side, side))
        self._draw = ImageDraw.Draw(self.picture)
        self._soft = ImageDraw.Draw(self.picture, "RGBA")
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

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Numbers) -> None:
        """Paint a rectangle; x0 <= x1 and y0 <= y1."""
        s = self.side
        corners = (x0 * s, y0 * s, x1 * s - 1, y1 * s - 1)
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            self._draw.rectangle(corners, fill=self.ink(colour))

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Numbers) -> None:
        """Paint an ellipse around (x, y)."""
        s = self.side
        corners = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._draw.ellipse(corners, fill=self.ink(colour))

    def poly(self, corners: Numbers, colour: Numbers) -> None:
        """Paint a polygon from x0, y0, x1, y1, ..."""
        s = self.side
        self._draw.polygon([c * s for c in corners], fill=self.ink(colour))

    def shape(
        self, x: float, y: float, w: float, h: float, corners: Numbers, colour: Numbers
    ) -> None:
        """Paint a polygon whose corners are counted from (x, y) in units of w and h."""
        s = self.side
        pairs = zip(corners[::2], corners[1::2])
        self._draw.polygon([((x + w * a) * s, (y + h * b) * s) for a, b in pairs], self.ink(colour))

    def line(
        self, x0: float, y0: float, x1: float, y1: float, width: float, colour: Numbers
    ) -> None:
        """Paint a straight line; the width is a part of the picture's side."""
        s = self.side
        corners = (x0 * s, y0 * s, x1 * s, y1 * s)
        self._draw.line(corners, fill=self.ink(colour), width=max(1, round(width * s)))

    def veil(self, corners: Numbers, colour: Numbers, opacity: float) -> None:
        """Paint a transparent polygon; opacity is 0 to 1."""
        s = self.side
        ink = (*self.ink(colour), int(opacity * 255))
        self._soft.polygon([c * s for c in corners], fill=ink)

    def glow(
        self, x: float, y: float, rx: float, ry: float, colour: Numbers, opacity: float
    ) -> None:
        """Paint a transparent ellipse around (x, y)."""
        s = self.side
        corners = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._soft.ellipse(corners, fill=(*self.ink(colour), int(opacity * 255)))

    def fade(self, y0: float, y1: float, top: Numbers, bottom: Numbers, bands: int) -> None:
        """Paint a vertical gradient over the whole width in bands."""
        for k in range(bands):
            colour = mix(top, bottom, k / max(1, bands - 1))
            a = y0 + (y1 - y0) * k / bands
            self.box(0.0, a, 1.0, max(a, y1), colour)

    def outline(self, pixels: np.ndarray, colour: Colour) -> None:
        """Paint a polygon given in pixels, (n, 2) float32, in exactly this colour."""
        self._draw.polygon(pixels, fill=colour)  # type: ignore[arg-type]
