"""What a run costs, as bars of its parts and a line for what is available."""

from collections.abc import Mapping

from align_edu.show.style import BLUE, INK, ORANGE, Picture, course_style, new_figure


def cost_bars(
    parts: Mapping[str, float], unit: str, limit: float | None = None, title: str | None = None
) -> Picture:
    """Draw the parts of a cost as bars, the largest on top, and what is available as a line.

    parts: name and size of each part, in ``unit``.
    unit: label of the axis.
    limit: what is available; the sum of all bars should stay below it.

    Paper: Section 5 (the devices of the run).

    >>> figure = cost_bars({"weights": 3.0, "activations": 20.0}, "GiB", limit=16.0)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['20', '3', 'there are 16']
    """
    order = sorted(parts, key=lambda name: parts[name], reverse=True)
    figure = new_figure(0.9 + 0.34 * len(order), title)
    with course_style():
        axes = figure.add_subplot()
        axes.barh(range(len(order)), [parts[name] for name in order], color=BLUE, height=0.7)
        axes.set_yticks(range(len(order)), order, color=INK)
        axes.invert_yaxis()
        end = 1.15 * max([*parts.values(), limit or 0.0])
        for place, name in enumerate(order):
            x, text = parts[name] + 0.01 * end, f"{parts[name]:.3g}"
            axes.text(x, place, text, va="center", fontsize=9)
        if limit is not None:
            axes.axvline(limit, color=ORANGE, linestyle="--")
            x, text = limit + 0.01 * end, f"there are {limit:.3g}"
            axes.text(x, len(order) - 1, text, va="center", fontsize=9, color=ORANGE)
        axes.set_xlim(0, end)
        axes.set_xlabel(unit)
    return figure
