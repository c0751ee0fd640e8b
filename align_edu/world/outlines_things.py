"""Outlines of tools, toys, kitchenware and the guitar."""

from align_edu.world.shapes import Part, arc, blob, box, oval, poly, stroke, twice


def balloon() -> list[Part]:
    """A balloon on a string."""
    return [
        ("string", stroke(0.05, (0.0, 0.4), (0.1, 0.6), (-0.08, 0.8), (0.04, 1.1))),
        ("dark", poly((-0.1, 0.46), (0.1, 0.46), (0.0, 0.3))),
        (
            "body",
            blob(
                (0.0, -1.0),
                (0.5, -0.8),
                (0.66, -0.32),
                (0.4, 0.14),
                (0.0, 0.38),
                (-0.4, 0.14),
                (-0.66, -0.32),
                (-0.5, -0.8),
            ),
        ),
        ("dark", blob((0.62, -0.3), (0.4, 0.1), (0.02, 0.34), (0.3, -0.02))),
        ("light", oval(-0.28, -0.58, 0.14, 0.22, 30)),
    ]


def cup() -> list[Part]:
    """A steaming cup of coffee."""
    return [
        ("body", stroke(0.17, (0.4, -0.3), (0.86, -0.34), (0.9, 0.1), (0.4, 0.32))),
        (
            "body",
            blob(
                (-0.62, -0.55), (0.62, -0.55), (0.56, 0.2), (0.4, 0.66), (-0.4, 0.66), (-0.56, 0.2)
            ),
        ),
        ("dark", oval(0.0, -0.52, 0.62, 0.17)),
        ("coffee", oval(0.0, -0.49, 0.52, 0.11)),
        ("light", blob((-0.46, -0.26), (-0.34, -0.24), (-0.28, 0.3), (-0.4, 0.34))),
        ("steam", stroke(0.07, (-0.2, -0.7), (-0.12, -0.84), (-0.22, -1.0))),
        ("steam", stroke(0.07, (0.16, -0.7), (0.24, -0.84), (0.14, -1.0))),
    ]


def guitar() -> list[Part]:
    """A guitar, upright."""
    return [
        ("wood", box(-0.08, -0.9, 0.08, 0.1)),
        ("ink", poly((-0.12, -1.12), (0.12, -1.12), (0.09, -0.86), (-0.09, -0.86))),
        (
            "body",
            blob(
                (0.0, -0.14),
                (0.3, -0.12),
                (0.36, 0.12),
                (0.3, 0.3),
                (0.5, 0.6),
                (0.34, 0.94),
                (0.0, 1.0),
                (-0.34, 0.94),
                (-0.5, 0.6),
                (-0.3, 0.3),
                (-0.36, 0.12),
                (-0.3, -0.12),
            ),
        ),
        ("dark", blob((0.3, 0.34), (0.46, 0.62), (0.3, 0.9), (0.0, 0.96), (0.28, 0.76))),
        ("ink", oval(0.0, 0.3, 0.16)),
        ("wood", box(-0.2, 0.64, 0.2, 0.74)),
        ("cream", stroke(0.04, (-0.03, -0.9), (-0.03, 0.68), smooth=False)),
        ("cream", stroke(0.04, (0.04, -0.9), (0.04, 0.68), smooth=False)),
    ]


def book() -> list[Part]:
    """An open book; its cover has the colour."""
    return [
        (
            "dark",
            poly((-1.0, -0.5), (0.0, -0.38), (1.0, -0.5), (1.0, 0.62), (0.0, 0.72), (-1.0, 0.62)),
        ),
        (
            "body",
            poly((-1.0, -0.58), (0.0, -0.44), (1.0, -0.58), (1.0, 0.54), (0.0, 0.64), (-1.0, 0.54)),
        ),
        *twice(
            "paper",
            blob(
                (0.03, -0.42), (0.3, -0.66), (0.84, -0.62), (0.84, 0.36), (0.3, 0.34), (0.03, 0.5)
            ),
        ),
        *[
            part
            for y in (-0.4, -0.2, 0.0)
            for part in twice("pencil", stroke(0.06, (0.2, y), (0.7, y), smooth=False))
        ],
        ("dark", box(-0.03, -0.44, 0.03, 0.56)),
    ]


def key() -> list[Part]:
    """A key with a round bow."""
    return [
        ("body", stroke(0.24, *arc(-0.6, 0.0, 0.3, 0.3, 0, 360, 20), smooth=False)),
        ("body", box(-0.26, -0.11, 1.0, 0.11)),
        ("body", box(0.52, 0.0, 0.66, 0.36)),
        ("body", box(0.8, 0.0, 0.98, 0.42)),
        ("dark", box(-0.2, 0.02, 0.96, 0.09)),
        ("light", stroke(0.08, *arc(-0.6, 0.0, 0.34, 0.34, 190, 300, 8), smooth=False)),
    ]


def hammer() -> list[Part]:
    """A claw hammer; its head and grip have the colour."""
    return [
        ("wood", box(-0.11, -0.6, 0.11, 1.05, 0.06)),
        ("body", box(-0.15, 0.4, 0.15, 1.08, 0.1)),
        ("body", poly((-0.4, -0.92), (-0.4, -0.46), (0.3, -0.46), (0.3, -0.92))),
        ("body", box(-0.68, -1.0, -0.38, -0.38, 0.06)),
        ("body", blob((0.26, -0.92), (0.6, -0.86), (0.9, -0.42), (0.5, -0.56), (0.26, -0.46))),
        ("dark", box(-0.4, -0.58, 0.28, -0.46)),
        ("light", box(-0.6, -0.92, -0.5, -0.48)),
    ]


def scissors() -> list[Part]:
    """Open scissors; the handles have the colour."""

    def handle(x: float) -> Part:
        return ("body", stroke(0.2, *arc(x, 0.66, 0.29, 0.33, 0, 360, 18), smooth=False))

    return [
        ("metal", poly((0.1, 0.34), (-0.14, 0.34), (-0.46, -1.02), (-0.36, -1.0))),
        ("metal", poly((-0.1, 0.34), (0.14, 0.34), (0.46, -1.02), (0.36, -1.0))),
        ("body", stroke(0.22, (0.04, 0.1), (-0.24, 0.5), smooth=False)),
        ("body", stroke(0.22, (-0.04, 0.1), (0.24, 0.5), smooth=False)),
        handle(-0.4),
        handle(0.4),
        ("ink", oval(0.0, 0.06, 0.08)),
    ]


def kite() -> list[Part]:
    """A kite with three bows on its tail."""
    bows = [(0.1, 0.62), (-0.06, 0.82), (0.12, 1.0)]
    return [
        ("string", stroke(0.05, (0.0, 0.4), (0.12, 0.6), (-0.08, 0.84), (0.14, 1.1))),
        ("body", poly((0.0, -1.0), (0.62, -0.4), (0.0, 0.48), (-0.62, -0.4))),
        ("dark", poly((0.0, -1.0), (0.62, -0.4), (0.0, -0.4))),
        ("light", poly((-0.62, -0.4), (0.0, -0.4), (0.0, 0.48))),
        *[("gold", poly((x - 0.18, y - 0.09), (x, y), (x - 0.18, y + 0.09))) for x, y in bows],
        *[("gold", poly((x + 0.18, y - 0.09), (x, y), (x + 0.18, y + 0.09))) for x, y in bows],
    ]
