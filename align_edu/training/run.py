"""A run's folder: configuration, vocabulary, weights; and the trained model in use."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from align_edu.io import InputError, read_json
from align_edu.model.align import Align
from align_edu.model.wordpiece import encode_texts, load_wordpiece
from align_edu.pairs.pixels import central_crops, resize_picture
from align_edu.presets import Preset, preset_from_dict
from align_edu.training.checkpoint import load_tensors, load_weights
from align_edu.training.processes import threads_for

_ENCODE_BATCH = 256
_ENCODE_PIXELS = _ENCODE_BATCH * 48 * 48  # of large pictures fewer at a time


@dataclass(frozen=True)
class Run:
    """A trained model with its vocabulary and its preset, ready to encode."""

    folder: Path
    preset: Preset
    tokenizer: Tokenizer
    model: Align

    @torch.no_grad()
    def encode_images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Return unit vectors (B, D) of pictures of any size.

        Paper: Section 5 (resize, central crop).
        """
        self.model.eval()
        device = next(self.model.parameters()).device
        chunks = []
        batch = max(1, min(_ENCODE_BATCH, _ENCODE_PIXELS // self.preset.image.crop**2))
        with threads_for(self.model):
            for start in range(0, len(pictures), batch):
                part = pictures[start : start + batch]
                pixels = torch.stack([resize_picture(p, self.preset.image) for p in part])
                crops = central_crops(pixels, self.preset.image).to(device)
                chunks.append(self.model.encode_image(crops).float().cpu())
        return torch.cat(chunks) if chunks else torch.empty(0, self.model.image_tower.width)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts. Paper: Section 5 (at most 64 word pieces)."""
        self.model.eval()
        device = next(self.model.parameters()).device
        chunks = []
        length = self.preset.text.max_length
        with threads_for(self.model):
            for start in range(0, len(texts), _ENCODE_BATCH):
                part = texts[start : start + _ENCODE_BATCH]
                ids, mask = encode_texts(self.tokenizer, part, length)
                chunks.append(self.model.encode_text(ids.to(device), mask.to(device)).float().cpu())
        return torch.cat(chunks) if chunks else torch.empty(0, self.model.image_tower.width)


def load_preset(folder: str | Path) -> Preset:
    """Return the preset of the run in a folder. Raises InputError when there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that `train` wrote")
    return preset_from_dict(read_json(folder / "config.json").get("preset", {}))


def load_run(folder: str | Path, device: str = "cpu") -> Run:
    """Return the trained model in a run's folder.

    Needs ``config.json``, ``tokenizer.json`` and ``model.safetensors``; nothing is unpickled.
    Raises InputError when one is missing or does not fit the others.
    """
    folder, preset = Path(folder), load_preset(folder)
    tokenizer = load_wordpiece(folder / "tokenizer.json")
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise InputError(f"{weights}: not there; the run is not finished, go on with --resume")
    model = Align(preset, tokenizer.get_vocab_size())
    # As in training: in another memory order sums round otherwise, and near ties turn round.
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    load_weights(weights, model, load_tensors(weights))
    return Run(folder, preset, tokenizer, model.eval().to(device))


def software_versions() -> dict[str, str]:
    """Return the versions that a result depends on.

    >>> sorted(software_versions())[:2]
    ['align-edu', 'numpy']
    """
    names = ("align-edu", "numpy", "torch", "torchvision", "transformers")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
