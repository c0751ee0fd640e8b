"""A run's folder: configuration, vocabulary and weights, as a model that encodes."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from align_edu.io import InputError, read_json
from align_edu.model.align import Align
from align_edu.model.wordpiece import encode_texts, load_wordpiece
from align_edu.pairs.pixels import central_crops, resize_picture
from align_edu.presets import Preset, preset_from_dict
from align_edu.training.checkpoint import load_weights
from align_edu.training.processes import threads_for

_BATCH = 256  # pictures or texts encoded at a time
_PIXELS = _BATCH * 48 * 48  # fewer of large pictures


@dataclass(frozen=True)
class Run:
    """A trained model with its vocabulary and its preset, ready to encode."""

    folder: Path
    preset: Preset
    tokenizer: Tokenizer
    model: Align

    def encode_images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Return unit vectors (B, D) of pictures of any size.

        Paper: Section 5 (resize, central crop).
        """
        settings = self.preset.image

        def encode(part: Sequence[Image.Image], device: torch.device) -> Tensor:
            pixels = torch.stack([resize_picture(picture, settings) for picture in part])
            return self.model.encode_image(central_crops(pixels, settings).to(device))

        return self._encode(pictures, encode, max(1, min(_BATCH, _PIXELS // settings.crop**2)))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts. Paper: Section 5 (at most 64 word pieces)."""

        def encode(part: Sequence[str], device: torch.device) -> Tensor:
            ids, mask = encode_texts(self.tokenizer, part, self.preset.text.max_length)
            return self.model.encode_text(ids.to(device), mask.to(device))

        return self._encode(texts, encode, _BATCH)

    @torch.no_grad()
    def _encode(self, items: Sequence[Any], encode: Callable[..., Tensor], batch: int) -> Tensor:
        self.model.eval()
        device = next(self.model.parameters()).device
        starts = range(0, len(items), batch)
        with threads_for(self.model):
            parts = [encode(items[i : i + batch], device).float().cpu() for i in starts]
        return torch.cat(parts) if parts else torch.empty(0, self.model.image_tower.width)


def load_preset(folder: str | Path) -> Preset:
    """Return the preset of the run in a folder. Raises InputError when the folder has none."""
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
        raise InputError(f"{weights}: no such file; the run is not finished, resume it first")
    model = Align(preset, tokenizer.get_vocab_size())
    # As in training: in another memory order sums round differently, and near ties swap.
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    load_weights(weights, model)
    return Run(folder, preset, tokenizer, model.eval().to(device))


def check_folder(out: Path, settings: dict[str, Any], resume: bool) -> None:
    """Refuse to overwrite another run, and to resume with other settings or other data."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the run")
    if not (out / "config.json").exists():
        return
    if not resume:
        raise InputError(f"{out}: already holds a run; add --resume or choose another folder")
    stored = read_json(out / "config.json")
    for name, value in settings.items():
        if stored.get(name) != value:
            raise InputError(
                f"{out}: the run was started with another setting"
                f" ({name.removesuffix('_sha256')} differs); resume it with the same preset,"
                " data, length and seed"
            )


def vocabulary_to_start_from(start: Path, tokenizer: Tokenizer | None) -> Tokenizer:
    """Return the vocabulary of the run to begin with."""
    if tokenizer is not None:
        raise InputError(f"{start}: starting from a run takes its vocabulary; leave yours out")
    if not (start / "model.safetensors").exists():
        raise InputError(
            f"{start / 'model.safetensors'}: no such file; start from the folder of a finished run"
        )
    return load_wordpiece(start / "tokenizer.json")


def software_versions() -> dict[str, str]:
    """Return the versions that a result depends on.

    >>> sorted(software_versions())[:2]
    ['align-edu', 'numpy']
    """
    names = ("align-edu", "numpy", "torch", "torchvision", "transformers")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
