"""The report of a run: one HTML file without links or scripts, with all its pictures inside."""

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure
from PIL import Image

from align_edu.io import written_whole
from align_edu.show import charts, style


class Sample(NamedTuple):
    """A raw pair: its picture, its alt-text, and the kind of its noise or "clean"."""

    image: Image.Image
    caption: str
    noise: str


class Found(NamedTuple):
    """A search: its text, the pictures found, their scores, and which ones the text describes."""

    query: str
    images: Sequence[Image.Image]
    scores: Sequence[float]
    correct: Sequence[bool]


def write_report(
    path: str | Path,
    results: Mapping[str, Any],
    *,
    samples: Sequence[Sample] = (),
    training: Figure | None = None,
    gallery: Sequence[Found] = (),
    similarity: Figure | None = None,
) -> Path:
    """Write a page without links or scripts, whole or not at all; return its path.

    results: the content of a demo's results.json. training, similarity: the figures of
    `training_curves` and `similarity_matrix`. Sections without data are left out.
    Raises InputError when it cannot be written.

    >>> import tempfile
    >>> path = write_report(Path(tempfile.mkdtemp()) / "report.html", {"temperature": 0.07})
    >>> "<h1>" in path.read_text(encoding="utf-8")
    True
    """
    figures = {"training": training, "similarity": similarity}
    text = _template().render(results=results, samples=samples, gallery=gallery, **figures)
    with written_whole(Path(path)) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("align_edu", "show"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"style": style, "charts": charts}
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.1f} %",
        "thousands": lambda number: f"{number:,}",
        "words": lambda name: name.replace("_", " "),
        "duration": lambda s: (
            f"{s:.1f} s" if s < 60 else "{} min {} s".format(*divmod(round(s), 60))
        ),
        "png": lambda figure: _data_url("png", style.to_png(figure)),
        "jpeg": lambda image: _data_url("jpeg", _jpeg(image)),
    }
    return environment.get_template("report.html.j2")


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    style.thumbnail(image).save(file, "JPEG", quality=88)
    return file.getvalue()


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
