"""Figures of what a run costs: bars of its parts, and a line of what there is."""

from collections.abc import Mapping

from align_edu.show.style import BLUE, INK, ORANGE, Picture, course_style, new_figure


def cost_bars(
    parts: Mapping[str, float], unit: str, limit: float | None = None, title: str | None = None
) -> Picture:
    """Return the parts of a cost as bars, the largest on top, with what there is as a line.

    Parameters
    ----------
    parts : name and size of each part, in ``unit``.
    unit : written at the axis.
    limit : what there is of it; all bars together should stay below.

    Paper: Section 5 (what the run was done on).

    >>> figure = cost_bars({"weights": 3.0, "activations": 20.0}, "GiB", limit=16.0)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['20', '3', 'there are 16']
    """
    order = sorted(parts, key=lambda name: parts[name], reverse=True)
    sizes = [parts[name] for name in order]
    figure = new_figure(0.9 + 0.34 * len(order), title)
    with course_style():
        axes = figure.add_subplot()
        axes.barh(range(len(order)), sizes, color=BLUE, height=0.7)
        axes.set_yticks(range(len(order)), order, color=INK)
        axes.invert_yaxis()
        end = 1.15 * max([*sizes, limit or 0.0])
        for place, size in enumerate(sizes):
            axes.text(size + 0.01 * end, place, f"{size:.3g}", va="center", fontsize=9)
        if limit is not None:
            axes.axvline(limit, color=ORANGE, linestyle="--")
            axes.text(
                limit + 0.01 * end,
                len(order) - 1,
                f"there are {limit:.3g}",
                va="center",
                fontsize=9,
                color=ORANGE,
            )
        axes.set_xlim(0, end)
        axes.set_xlabel(unit)
    return figure
