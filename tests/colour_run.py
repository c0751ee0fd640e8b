"""A run of three dimensions, whose embeddings can be worked out by hand."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from align_edu.search import Hit

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


def names(hits: list[Hit]) -> list[str]:
    return [hit.path.stem for hit in hits]
