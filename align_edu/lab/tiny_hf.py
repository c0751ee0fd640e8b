"""A tiny random AlignModel in a folder: stands in where the released weights are missing."""

from pathlib import Path
from string import ascii_lowercase, digits

import torch
from torch import nn
from torch.nn import functional as F

from align_edu.hub.align_model import save_hf
from align_edu.model.align import Align
from align_edu.model.image_tower import ImageTower
from align_edu.model.wordpiece import SPECIAL_TOKENS, tokenizer_from_pieces
from align_edu.presets import ImageSettings, LossSettings, Preset, TextSettings
from align_edu.training.run import Run

_LETTERS = ascii_lowercase + digits
_PIECES = [*SPECIAL_TOKENS, *_LETTERS, *("##" + letter for letter in _LETTERS)]

# The released weights' conventions, small: their padding, their pooler, σ itself and not its
# logarithm, and a side of 65 = 2 × 32 + 1 pixels where theirs is 289 = 9 × 32 + 1.
_PRESET = Preset(
    "align-tiny",
    ImageSettings(
        width=0.35, depth=0.35, resize=78, crop=65, stochastic_depth=0.0, padding="tf_static"
    ),
    TextSettings(
        layers=2, width=32, heads=2, vocabulary_size=len(_PIECES), dropout=0.0, pooler=True
    ),
    LossSettings(temperature=0.05),
)


def tiny_hf(folder: str | Path, seed: int = 0) -> Path:
    """Write a tiny random model as a folder of transformers' AlignModel; return the folder.

    It has every part and convention of the released weights, untrained; its word pieces are
    single letters and digits. The same seed gives the same bytes; the global generator is
    untouched.

    Raises InputError when the folder is not empty.

    Paper: Section 4.1.

    >>> import tempfile
    >>> from align_edu.hub.align_model import load_hf
    >>> load_hf(tiny_hf(tempfile.mkdtemp())).preset.image.padding
    'tf_static'
    """
    model = Align(_PRESET, len(_PIECES), seed)
    _see_patches(model.image_tower, seed)
    run = Run(Path(folder), _PRESET, tokenizer_from_pieces(_PIECES), model.eval())
    return save_hf(run, folder)


def _see_patches(tower: ImageTower, seed: int) -> None:
    """Set BatchNorm's statistics from patches of colour; else all pictures look nearly alike."""
    norms = [module for module in tower.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    generator = torch.Generator().manual_seed(seed)
    patches = 2 * torch.rand(64, 3, 6, 6, generator=generator) - 1
    for norm in norms:
        norm.momentum = 1.0  # of this one batch
    with torch.no_grad():
        tower.train()(F.interpolate(patches, size=(65, 65), mode="bilinear"))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
