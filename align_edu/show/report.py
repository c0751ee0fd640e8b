"""What a command leaves for people: a run's report, its page to try, and a search's picture.

A search starts quickly: its picture is drawn by Pillow, and only the report imports matplotlib.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from align_edu.io import InputError, fill_template, read_json, written_whole
from align_edu.pairs.images import BrokenImage, decode_image, find_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from align_edu.search import Hit, ImageIndex
    from align_edu.training.run import Run

SHOWN = 100  # pictures of a search at most; the list of hits names all
COLUMNS, SIDE, GAP = 5, 160, 6  # pixels: a sheet is 800 wide, as all figures
LINES, LETTERS = 2, 26  # of a caption
MOST_PICTURES, MOST_NUMBERS = 1_000, 30_000_000  # of a page: 160 MB of weights as letters
INK, LINE, PAPER = "#1f2933", "#dde2e7", "#ffffff"


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
    path: str | Path, results: Mapping[str, Any], *, samples: Sequence[Sample] = (),
    training: Figure | None = None, gallery: Sequence[Found] = (), similarity: Figure | None = None,
) -> Path:  # fmt: skip
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
    values = {"results": results, "samples": samples, "gallery": gallery, **figures}
    return _write_page(Path(path), "report.html.j2", **values)


def _write_page(path: Path, template: str, **values: Any) -> Path:
    from align_edu.show import charts, style

    filters = {
        "percent": lambda share: f"{100 * share:.1f} %",
        "thousands": lambda number: f"{number:,}",
        "words": lambda name: name.replace("_", " "),
        "duration": lambda s: (
            f"{s:.1f} s" if s < 60 else "{} min {} s".format(*divmod(round(s), 60))
        ),
        "data": lambda value: json.dumps(value).replace("<", "\\u003c"),  # closes no script
        "png": lambda figure: _data_url("png", style.to_png(figure)),
        "jpeg": lambda image: _data_url("jpeg", _jpeg(style.thumbnail(image))),
    }
    file = Path(__file__).with_name(template)
    text = fill_template(file, filters, style=style, charts=charts, **values)
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def export_page(
    run: Run, images: str | Path, out: str | Path,
    *, progress: bool = False, left_out: Counter[str] | None = None,
) -> Path:  # fmt: skip
    """Write OUT/index.html, a page that ranks pictures by words in any browser; return its path.

    It holds the text tower with its vocabulary, and the pictures with their embeddings, and needs
    no Python, no server and no network. images: a folder of at most 1,000 pictures; of a benchmark
    in Karpathy's form, captions and scenes are shown too. left_out: counts the files that are not
    on the page, by reason. Raises InputError for more pictures, for
    a text tower of more than 30 million numbers, and when no picture can be read.

    Paper: Section 7; footnote 4 for the weights of words and pictures.
    """
    from align_edu.evaluation.embed import embed_images

    left_out = Counter() if left_out is None else left_out
    files, known = find_images(Path(images), left_out), _known(Path(images))
    if len(files) > MOST_PICTURES:
        raise InputError(f"{images}: {len(files):,} pictures; a page holds {MOST_PICTURES:,}")
    data = _text_tower(run)
    found = embed_images(run, files, progress=progress)
    if not found.files:
        raise InputError(f"{images}: no picture can be read ({found.reasons() or 'none in it'})")
    left_out.update(found.skipped.values())
    data["pictures"] = [
        known.get(file.name, {"title": file.name, "facts": {}})
        | {"image": _data_url("jpeg", _jpeg(_read(file))), "embedding": _floats(row)}
        for file, row in zip(found.files, found.embeddings, strict=True)
    ]
    short = sorted({picture["title"] for picture in known.values()}, key=len)[:60]
    data["examples"] = short[:: -(-len(short) // 5) or 1] or ["a cat", "a house at night"]
    shown = {"count": len(found.files), "name": run.folder.resolve().name, "data": data}
    shown["numbers"] = sum(tensor.numel() for tensor in run.model.text_tower.parameters())
    script = Path(__file__).with_name("try.js").read_text(encoding="utf-8")
    return _write_page(Path(out) / "index.html", "try.html.j2", **shown, script=script)


def _text_tower(run: Run) -> dict[str, Any]:
    """Return all that try.js needs to encode texts, and texts to compare its results on."""
    import torch

    from align_edu.search import IMAGE_WEIGHT, TEXT_WEIGHT

    texts = ["a red cat", "Zwei Häuser, 25 % off!", "snow " * 80]
    checks = run.encode_texts(texts)  # refuses a run without a tokenizer
    tower = run.model.text_tower.state_dict()
    tower = {name: each.cpu() for name, each in tower.items() if "bert.pooler" not in name}
    if (count := sum(each.numel() for each in tower.values())) > MOST_NUMBERS:
        raise InputError(f"{run.folder}: a text tower of {count:,} numbers is too large for a page")
    starts = accumulate((each.numel() for each in tower.values()), initial=0)
    return {
        "tensors": {name: [start, *tower[name].shape] for name, start in zip(tower, starts)},
        "weights": _floats(torch.cat([each.flatten() for each in tower.values()])),
        "vocabulary": run.tokenizer.get_vocab() if run.tokenizer else {},
        **{name: getattr(run.preset.text, name) for name in ("max_length", "layers", "heads")},
        "sigma": run.model.temperature().item(),
        "text_weight": TEXT_WEIGHT,
        "image_weight": IMAGE_WEIGHT,
        "check": [{"text": t, "embedding": _floats(row)} for t, row in zip(texts, checks)],
    }


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the first caption and the scene of each picture of a benchmark, by its file name."""
    known = {}
    for file in sorted(folder.glob("dataset_*.json")):
        for row in read_json(file)["images"]:
            with suppress(AttributeError, IndexError, KeyError, TypeError):  # of others' making
                sentence, scene = row["sentences"][0], row.get("scene") or {}
                caption = sentence.get("raw") or " ".join(sentence["tokens"])
                facts = {name: value for name, value in scene.items() if value}
                known[row["filename"]] = {"title": caption, "facts": facts}
    return known


def _floats(tensor: Tensor) -> str:
    """Return the float32 numbers of a tensor as letters (base64, little-endian)."""
    return base64.b64encode(tensor.float().numpy().astype("<f4").tobytes()).decode("ascii")


def search_answer(
    index: ImageIndex, picture: Path, query: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Search, draw what is found to ``picture``, and return the hits as a JSON object and as text.

    query: the options of `align_edu.search.search`.
    """
    from align_edu.search import search

    hits = search(index, **query)
    words = [query["text"], query["image"], *(f"+ {text}" for text in query["plus"])]
    words += [f"− {text}" for text in query["minus"]]
    title = " ".join(str(word) for word in words if word)
    rows = [{"rank": h.rank, "score": round(h.score, 4), "path": str(h.path)} for h in hits]
    lines = [f"{r['rank']:>3}  {r['score']:.3f}  {r['path']}" for r in rows]
    answer: dict[str, Any] = {"query": title, "hits": rows, "picture": str(picture)}
    try:
        save_search_picture(picture, title, hits)
    except InputError as error:  # such as an index that only others may write to
        answer |= {"picture": None, "picture_error": str(error)}
    return answer, "\n".join([*lines, f"picture: {answer['picture'] or answer['picture_error']}"])


def save_search_picture(path: str | Path, query: str, hits: Sequence[Hit]) -> Path:
    """Write the first hundred pictures of a search as a grid to a PNG file; return its path.

    A picture that can no longer be read is drawn as an empty frame.
    Raises InputError when the file cannot be written.
    """
    shown, below, top = hits[:SHOWN], 14 * LINES + GAP, 36
    rows = -(-len(shown) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, top + rows * (SIDE + below)), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = textwrap.shorten(_printable(query), 88, placeholder="…")
    draw.text((GAP, GAP), title, INK, _font("DejaVuSans-Bold.ttf", 16))
    for number, hit in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        x, y = column * SIDE, top + row * (SIDE + below)
        picture = _read(hit.path)
        corner = (x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2)
        sheet.paste(picture, corner)
        outline = (corner[0], corner[1], corner[0] + picture.width, corner[1] + picture.height)
        draw.rectangle(outline, outline=LINE)
        caption = _printable(f"{hit.rank}. {hit.path.name} ({hit.score:.2f})")
        lines = textwrap.wrap(caption, LETTERS, max_lines=LINES, placeholder="…")
        draw.multiline_text((x + GAP, y + SIDE), "\n".join(lines), INK, _font("DejaVuSans.ttf", 11))
    with written_whole(Path(path)) as beside:
        sheet.save(beside, "PNG")
    return Path(path)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that comes with matplotlib, whose import takes longer than all else here."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None and found.origin is not None  # a dependency of the package
    file = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(file, size)


def _printable(text: str) -> str:
    """Return text in one line, with "?" for what is not UTF-8 in a file's name."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _read(file: Path) -> Image.Image:
    """Return a thumbnail of a picture; an empty one if it moved or changed since it was indexed."""
    try:
        picture = decode_image(file.read_bytes())
    except (OSError, BrokenImage):
        return Image.new("RGB", (SIDE - 2 * GAP, SIDE - 2 * GAP), LINE)
    picture.thumbnail((SIDE - 2 * GAP, SIDE - 2 * GAP))
    return picture
