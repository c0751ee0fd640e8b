"""Every number of a recipe in one place: the toy, CC-3M, and the paper's sizes.

A preset is a frozen value. Change one number with :func:`replace_fields`, which is what
``align-edu train --set recipe.batch_size=64`` does.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from align_edu.io import InputError

# Fields with bounds: lowest and highest value. All other numbers must be above zero.
_FROM_ZERO = (0.0, math.inf)
_BOUNDS: dict[str, tuple[float, float]] = {
    "image.batch_norm_momentum": (0.0, 1.0),
    "image.stochastic_depth": (0.0, 0.999),
    "image.ghost_batch": (2, math.inf),
    "text.layers": _FROM_ZERO,
    "text.dropout": (0.0, 0.999),
    "loss.label_smoothing": (0.0, 0.999),
    "loss.negatives": (1e-9, 1.0),
    "loss.bias": (-math.inf, math.inf),
    "recipe.learning_rate": _FROM_ZERO,
    "recipe.beta1": (0.0, 0.999999),
    "recipe.beta2": (0.0, 0.999999),
    "recipe.weight_decay": _FROM_ZERO,
    "recipe.warmup": (0.0, 0.999),
    "recipe.batch_size": (2, math.inf),
    "recipe.workers": _FROM_ZERO,
    "recipe.pixel_cache_gib": _FROM_ZERO,
}


_PART_OF = {
    "ImageSettings": "image",
    "TextSettings": "text",
    "LossSettings": "loss",
    "Recipe": "recipe",
}
_PARTS = tuple(_PART_OF.values())


class _Checked:
    """Settings whose fields are checked when they are made.

    Raises InputError for a value of another type than the field's, or out of its bounds.
    """

    def __post_init__(self) -> None:
        part = _PART_OF[type(self).__name__]
        hints = get_type_hints(type(self))
        for name, hint in hints.items():
            _check_field(f"{part}.{name}", getattr(self, name), hint)


def _check_field(path: str, value: Any, hint: Any) -> None:
    """Raise InputError unless ``value`` has the type ``hint`` and lies in the field's bounds."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise InputError(f"{path}: {json.dumps(value)} does not exist; choose one of {choices}")
        return
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (type(value) in kinds or (whole and float in kinds)):
        names = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}
        wanted = " or ".join(names[kind] for kind in kinds)
        raise InputError(f"{path}: {json.dumps(value)} is no value for it; give {wanted}")
    if value is None or isinstance(value, bool):
        return
    low, high = _BOUNDS.get(path, (math.ulp(0.0), math.inf))
    if not (low <= value <= high and math.isfinite(value)):
        bounds = "a number above 0" if low == math.ulp(0.0) else f"{low:g} or more"
        bounds = f"{low:g} to {high:g}" if high < math.inf else bounds
        raise InputError(f"{path}: {value} is out of range; give {bounds}")


@dataclass(frozen=True)
class ImageSettings(_Checked):
    """Size of the EfficientNet trunk and of its input (paper: Sections 4.1 and 5)."""

    width: float = 4.3  # multiplier on the channels of EfficientNet-B0; 4.3 is L2
    depth: float = 5.3  # multiplier on its blocks
    resize: int = 346  # pixels a side after resizing, aspect squashed
    crop: int = 289  # pixels a side that the tower sees: random in training, central after
    projection: int | None = None  # width of an extra linear layer (paper: only B1, B3, B5)
    batch_norm_momentum: float = 0.01  # torch's meaning; TensorFlow calls this 0.99
    # Pairs that share BatchNorm statistics; the paper's 16 pairs of a core (Section 5); None: the
    # whole batch.
    ghost_batch: int | None = 16
    stochastic_depth: float = 0.2  # of the last block; each sample is dropped by itself
    padding: Literal["tf_static", "same", "symmetric"] = "same"  # TensorFlow's SAME, as the paper
    recompute: bool = False  # each block again in the backward pass: less memory, more time


@dataclass(frozen=True)
class TextSettings(_Checked):
    """Size of the BERT tower and of its vocabulary (paper: Sections 4.1 and 5)."""

    layers: int = 24
    width: int = 1024
    heads: int = 16
    vocabulary_size: int = 100_000
    max_length: int = 64  # word pieces, [CLS] and [SEP] included
    dropout: float = 0.1
    positions: int = 512  # rows of BERT's table of positions; texts use the first max_length
    pooler: bool = False  # keep BERT's pooler, which ALIGN never uses: the released weights have it


@dataclass(frozen=True)
class LossSettings(_Checked):
    """Eq. (1) + eq. (2), their label smoothing and their temperature (paper: Sections 4.1, 5)."""

    label_smoothing: float = 0.1
    temperature: float = 1.0  # where sigma starts
    learned: bool = True
    log_temperature: bool = False  # learn log sigma instead of sigma
    negatives: float = 1.0  # fraction of in-batch negatives (paper: Table 8)
    kind: Literal["softmax", "sigmoid"] = "softmax"  # sigmoid is SigLIP's, to compare with
    bias: float = -10.0  # where the bias of the sigmoid loss starts; the softmax has none
    tile: int | None = None  # rows of the N x N matrix held at a time; None: all at once


@dataclass(frozen=True)
class Recipe(_Checked):
    """Optimiser, schedule and batch (paper: Section 5)."""

    optimizer: Literal["lamb", "adamw", "muon"] = "lamb"
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-5
    steps: int = 1_200_000
    warmup: float = 10_000 / 1_200_000  # fraction of the run spent in linear warm-up
    batch_size: int = 16_384
    chunk: int | None = None  # pairs a process embeds at a time (gradient cache); None: all
    compile: bool = False  # compile the image tower where a C++ compiler is found
    workers: int = 0  # processes that read images; 0 reads in the training process
    pixel_cache_gib: float = 2.0  # decoded pictures are kept in memory up to this size
    checkpoint_steps: int = 1_000
    log_steps: int = 10


@dataclass(frozen=True)
class Preset:
    """A whole recipe: towers, loss and training.

    >>> get_preset("l2_large").image.crop
    289
    """

    name: str
    image: ImageSettings = field(default_factory=ImageSettings)
    text: TextSettings = field(default_factory=TextSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    recipe: Recipe = field(default_factory=Recipe)

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as plain JSON values.

        >>> get_preset("toy").to_dict()["name"]
        'toy'
        """
        return dataclasses.asdict(self)


# EfficientNet by compound scaling (Tan and Le, 2019): multipliers of width and depth.
IMAGE_SIZES: dict[str, ImageSettings] = {
    name: ImageSettings(width, depth)
    for name, width, depth in (
        ("B0", 1.0, 1.0),
        ("B1", 1.0, 1.1),
        ("B2", 1.1, 1.2),
        ("B3", 1.2, 1.4),
        ("B4", 1.4, 1.8),
        ("B5", 1.6, 2.2),
        ("B6", 1.8, 2.6),
        ("B7", 2.0, 3.1),
        ("B8", 2.2, 3.6),
        ("L2", 4.3, 5.3),
    )
}
TEXT_SIZES: dict[str, TextSettings] = {
    "mini": TextSettings(layers=4, width=256, heads=4),
    "medium": TextSettings(layers=8, width=512, heads=8),
    "base": TextSettings(layers=12, width=768, heads=12),
    "large": TextSettings(layers=24, width=1024, heads=16),
}

# What a config.json means that was written before these fields existed.
_OLD_IMAGE = {"padding": "symmetric", "ghost_batch": None}
_OLD_TEXT = {"positions": 64}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        # Small enough to learn the toy world in five minutes on two CPU cores. Where it
        # differs from the paper, notebooks/README.md says why.
        Preset(
            name="toy",
            image=ImageSettings(
                width=0.35,
                depth=0.35,
                resize=48,
                crop=40,
                batch_norm_momentum=0.1,
                ghost_batch=None,
                stochastic_depth=0.0,
                padding="symmetric",
            ),
            text=TextSettings(
                layers=1, width=64, heads=1, vocabulary_size=1_000, dropout=0.0, positions=64
            ),
            loss=LossSettings(label_smoothing=0.02, temperature=0.07, log_temperature=True),
            recipe=Recipe(
                optimizer="muon",
                learning_rate=1.4e-2,
                beta2=0.98,
                weight_decay=1e-2,
                steps=1_600,
                warmup=0.06,
                batch_size=256,
                checkpoint_steps=200,
            ),
        ),
        # Section 6.2, Table 9: a tenth of the default number of steps.
        Preset(
            name="cc3m",
            image=dataclasses.replace(IMAGE_SIZES["B3"], projection=640),
            text=TEXT_SIZES["mini"],
            recipe=Recipe(steps=120_000, warmup=10_000 / 120_000, workers=16, pixel_cache_gib=0.0),
        ),
        # Section 6.1, Table 8: the baseline of the ablations.
        Preset(
            name="b5_base",
            image=dataclasses.replace(IMAGE_SIZES["B5"], projection=640),
            text=TEXT_SIZES["base"],
        ),
        # The released weights: EfficientNet-B7 with their padding, BERT-Base with its vocabulary.
        Preset(
            name="b7_base",
            image=dataclasses.replace(IMAGE_SIZES["B7"], padding="tf_static"),
            text=dataclasses.replace(TEXT_SIZES["base"], vocabulary_size=30_522),
        ),
        # Section 5: the model of the paper's main results.
        Preset(name="l2_large"),
    )
}


def get_preset(name: str) -> Preset:
    """Return the preset called ``name``.

    Raises InputError for an unknown name.

    >>> get_preset("cc3m").recipe.steps
    120000
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} does not exist; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def replace_fields(preset: Preset, changes: dict[str, str]) -> Preset:
    """Return the preset with some fields changed, given as ``{"part.field": "value"}``.

    Values are JSON (``0.1``, ``true``, ``null``) or plain words. Raises InputError for an
    unknown field or a value of another type.

    >>> replace_fields(get_preset("toy"), {"recipe.batch_size": "64"}).recipe.batch_size
    64
    """
    for path, text in changes.items():
        part_name, _, field_name = path.partition(".")
        known = [f"{name}.{f.name}" for name in _PARTS for f in fields(getattr(preset, name))]
        if path not in known:
            raise InputError(f"--set {path}: no such field; choose one of {', '.join(known)}")
        part = getattr(preset, part_name)
        value = _same_type(path, text, getattr(part, field_name))
        preset = dataclasses.replace(
            preset, **{part_name: dataclasses.replace(part, **{field_name: value})}
        )
    return preset


def fine_tuning(preset: Preset, steps: int = 3_000) -> Preset:
    """Return the preset with the recipe that fine-tunes it for retrieval.

    The batch is an eighth, because few images make many false negatives, but not below 128 pairs,
    under which there are too few negatives to learn from; the learning rate is a hundredth,
    without warm-up. Of the paper's presets this gives the paper's numbers. steps: 3,000 for
    Flickr30K, 6,000 for COCO.

    Paper: Section 5.1.

    >>> recipe = fine_tuning(get_preset("l2_large")).recipe
    >>> recipe.batch_size, recipe.learning_rate, recipe.warmup
    (2048, 1e-05, 0.0)
    """
    recipe = dataclasses.replace(
        preset.recipe,
        batch_size=min(preset.recipe.batch_size, max(128, preset.recipe.batch_size // 8)),
        learning_rate=preset.recipe.learning_rate / 100,
        warmup=0.0,
        steps=steps,
    )
    return dataclasses.replace(preset, recipe=recipe)


def preset_from_dict(values: dict[str, Any]) -> Preset:
    """Return the preset that :meth:`Preset.to_dict` wrote, in this version or an older one.

    Raises InputError for values that are not a preset's.

    >>> preset_from_dict(get_preset("toy").to_dict()) == get_preset("toy")
    True
    """
    try:
        return Preset(
            name=values["name"],
            image=ImageSettings(**(_OLD_IMAGE | values["image"])),
            text=TextSettings(**(_OLD_TEXT | values["text"])),
            loss=LossSettings(**values["loss"]),
            recipe=Recipe(**values["recipe"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"config.json: not a preset of this version ({error})") from error


def _same_type(path: str, text: str, now: Any) -> Any:
    """Read ``text`` as a value of the type that the field has ``now``."""
    value: Any
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if now is None or value is None:
        return value  # the field's own check decides
    if isinstance(now, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(now):
        raise InputError(
            f"--set {path}={text}: a value like {now!r} is needed ({type(now).__name__})"
        )
    return value
