"""Closed outlines from a few points: the alphabet in which every object is written.

An outline is an (n, 2) array of x to the right and y downwards. A part of an object is a pair
(shade, outline); the shades are explained in `draw.py`.
"""

import numpy as np

Points = np.ndarray  # (n, 2) float
Part = tuple[str, Points]
Pair = tuple[float, float]

STEPS = 5  # points between two corners of a smooth line


def _spline(corners: Points, closed: bool) -> Points:
    """Catmull-Rom spline through the corners, sampled STEPS times between each two."""
    if closed:
        padded = np.concatenate([corners[-1:], corners, corners[:2]])
    else:
        padded = np.concatenate([corners[:1], corners, corners[-1:]])
    t = (np.arange(STEPS) / STEPS)[None, :, None]  # (1, STEPS, 1)
    a, b, c, d = (padded[k : len(padded) - 3 + k, None, :] for k in range(4))  # (m, 1, 2)
    curve = b + 0.5 * t * (
        c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d))
    )  # (m, STEPS, 2)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, corners[-1:]])


def poly(*corners: Pair) -> Points:
    """A polygon with straight sides.

    >>> poly((0, 0), (1, 0), (0, 1)).shape
    (3, 2)
    """
    return np.array(corners, dtype=float)


def blob(*corners: Pair) -> Points:
    """A smooth closed line through the corners.

    >>> blob((0, 0), (1, 0), (1, 1), (0, 1)).shape
    (20, 2)
    """
    return _spline(np.array(corners, dtype=float), closed=True)


def arc(
    x: float, y: float, rx: float, ry: float, start: float, end: float, n: int = 14
) -> list[Pair]:
    """Points on an ellipse around (x, y) from one angle to another; 0 is right, 90 is down.

    >>> [(round(a), round(b)) for a, b in arc(0, 0, 1, 1, 0, 180, 3)]
    [(1, 0), (0, 1), (-1, 0)]
    """
    angles = np.radians(np.linspace(start, end, n))
    return list(zip((x + rx * np.cos(angles)).tolist(), (y + ry * np.sin(angles)).tolist()))


def oval(x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0) -> Points:
    """An ellipse around (x, y), turned by `tilt` degrees.

    >>> oval(0, 0, 1).shape
    (18, 2)
    """
    ry = rx if ry is None else ry
    points = np.array(arc(0.0, 0.0, rx, ry, 0.0, 340.0, 18))
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    return points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> Points:
    """A rectangle, its corners rounded with radius r.

    >>> box(0, 0, 2, 1).shape, box(0, 0, 2, 1, 0.2).shape
    ((4, 2), (16, 2))
    """
    if not r:
        return poly((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return poly(
        *arc(x1 - r, y1 - r, r, r, 0, 90, 4),
        *arc(x0 + r, y1 - r, r, r, 90, 180, 4),
        *arc(x0 + r, y0 + r, r, r, 180, 270, 4),
        *arc(x1 - r, y0 + r, r, r, 270, 360, 4),
    )


def stroke(
    width: float, *path: Pair, end_width: float | None = None, smooth: bool = True
) -> Points:
    """The outline of a thick line along a path; it narrows to `end_width` where that is given.

    >>> stroke(0.1, (0, 0), (1, 0), smooth=False).shape
    (4, 2)
    """
    line = np.array(path, dtype=float)
    line = _spline(line, closed=False) if smooth and len(line) > 2 else line
    along = np.gradient(line, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    widths = np.linspace(width, width if end_width is None else end_width, len(line))[:, None]
    return np.concatenate([line + across * widths / 2, (line - across * widths / 2)[::-1]])


def mirror(points: Points) -> Points:
    """The outline seen in a mirror at x = 0.

    >>> mirror(poly((1, 0), (2, 0), (1, 1)))[0].tolist()
    [-1.0, 0.0]
    """
    return points * (-1.0, 1.0)


def twice(shade: str, points: Points) -> list[Part]:
    """A part and its mirror image.

    >>> [shade for shade, _ in twice("ink", oval(1, 0, 0.2))]
    ['ink', 'ink']
    """
    return [(shade, points), (shade, mirror(points))]
