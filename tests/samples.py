"""What tests are made of: tars, pictures, a run whose embeddings can be worked out by hand."""

import contextlib
import io
import json
import os
import resource
import signal
import tarfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from align_edu.io import InputError

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"  # real photographs and captions
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data_samples"
MODEL = DATA / "toy_model"
LONG = os.environ.get("ALIGN_EDU_LONG") == "1"  # make test-long
Members = list[tuple[str, bytes]]


def write_tar(path: Path, members: Members, form: int = tarfile.USTAR_FORMAT) -> Path:
    """Write members as they are given, broken names and repeats included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file grow over so many bytes: a write past that fails as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def write_files(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files, and the folders that they lie in."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def refused(words: str, call: Callable[..., Any], *given: Any, **options: Any) -> str:
    """Check that a call is refused with one line that holds a pattern; return the line."""
    with pytest.raises(InputError, match=words) as error:
        call(*given, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def cases(names: str, *rows: Any, **options: Any) -> pytest.MarkDecorator:
    """Parametrize a test by rows of values."""
    return pytest.mark.parametrize(names, rows, **options)


def image_file(colour="red", mode="RGB", form="JPEG", size=(8, 8)) -> bytes:
    return encoded(Image.new(mode, size, colour), form)


def picture(seed: int) -> bytes:
    """The bytes of a picture with coarse random structure."""
    values = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return encoded(Image.fromarray(values).resize((300, 300)))


def cells_of(notebook: Path, kind: str) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def source_of(notebook: Path, kind: str) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells_of(notebook, kind))


class Page(HTMLParser):
    """An HTML page: its tags with their attributes, its words, and the tags that stay open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1:] == [tag]:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts += data.split()


def pair(key: str, text: str = "a red cat", image: bytes | None = None) -> Members:
    return [(f"{key}.jpg", image_file() if image is None else image), (f"{key}.txt", text.encode())]


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "purple": (200, 0, 200)}


class ColourRun:
    """Embeds a picture by its mean colour and a text by the colours that it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encode_images(self, pictures: list[Image.Image]) -> Tensor:
        means = [np.asarray(picture, np.float32).mean(axis=(0, 1)) for picture in pictures]
        return F.normalize(torch.tensor(np.array(means)), dim=1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        sums = [np.sum([COLOURS[word] for word in text.split()], axis=0) for text in texts]
        return F.normalize(torch.tensor(np.array(sums)).float(), dim=1)


def write_photos(folder: Path) -> Path:
    """Write one picture of each colour, half of them in a folder of the folder."""
    (folder / "more").mkdir(parents=True)
    for number, (name, colour) in enumerate(COLOURS.items()):
        place = folder / "more" if number % 2 else folder
        Image.new("RGB", (9, 9), colour).save(place / f"{name}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def entry(name: str, raws: Iterable[Any] = ("a cat",), split: str = "test", **more: Any) -> dict:
    """Return a picture of Karpathy's form with its texts."""
    return {"filename": name, "split": split, "sentences": [{"raw": raw} for raw in raws], **more}


def write_split(folder: Path, entries: object, name: str = "toy") -> Path:
    """Write a benchmark's file in Karpathy's form, with a byte order mark as some have."""
    whole = json.dumps({"images": entries, "dataset": name})
    (folder / f"dataset_{name}.json").write_text(whole, encoding="utf-8-sig")
    return folder


def words_of(caption: str | None) -> list[str]:
    """NFKC, lower case; runs of letters, digits and marks that no mark begins."""
    words, word = [], ""
    for char in unicodedata.normalize("NFKC", caption or "").lower() + " ":
        kind = unicodedata.category(char)[0]
        if kind in "LN" or (kind == "M" and word):
            word += char
        elif kind != "M" and word:
            words.append(word)
            word = ""
    return words


def slow_ranks(query: Tensor, gallery: Tensor, right: Tensor, among: Tensor | None = None) -> list:
    """Rank the best right row of each query in plain loops: wrong rows of its score come first."""
    x, y, ranks = query.double().numpy(), gallery.double().numpy(), []
    for i in right.any(dim=1).nonzero().flatten().tolist():
        pool = [j for j in range(len(y)) if among is None or among[i, j]]
        scores = {j: np.float32(x[i] @ y[j]) for j in pool}
        best = max(scores[j] for j in pool if right[i, j])
        ranks.append(1 + sum(scores[j] >= best for j in pool if not right[i, j]))
    return ranks
