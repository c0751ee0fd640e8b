"""Every number of a recipe: the paper's as defaults; presets.toml has what other presets change.

A preset is an immutable value whose fields are checked when it is made.
"""

import json
import math
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from align_edu.io import InputError

# The types of fields: bool, a choice, or a number with its lowest value, its highest, and its name.
Finite = Annotated[float, (-math.inf, math.inf, "a number")]
Positive = Annotated[float, (math.ulp(0), math.inf, "a number above 0")]
Scale = Annotated[float, (math.ulp(0), 100, "a number above 0, at most 100")]
NotNegative = Annotated[float, (0, math.inf, "a number, 0 or more")]
Share = Annotated[float, (0, math.nextafter(1, 0), "a number from 0 to below 1")]
Momentum = Annotated[float, (0, 1, "a number from 0 to 1")]
Fraction = Annotated[float, (math.ulp(0), 1, "a number above 0, at most 1")]
Few = Annotated[int, (0, 1_000, "a whole number from 0 to 1000")]
Width = Annotated[int, (1, 100_000, "a whole number from 1 to 100000")]
Count = Annotated[int, (1, 10**9, "a whole number from 1 to a billion")]
Batch = Annotated[int, (2, 10**9, "a whole number from 2 to a billion")]
Side = Annotated[int, (32, 10_000, "a whole number from 32 to 10000")]  # 32 is halved five times
Length = Annotated[int, (3, 10_000, "a whole number from 3 to 10000")]
Padding = Literal["tf_static", "same", "symmetric"]


class _Settings:
    """Settings that raise InputError when a field has another type or is out of its range."""

    part: ClassVar[str]

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, each.name)
            if type(value) is int and isinstance(each.default, float):
                value = float(value)
                object.__setattr__(self, each.name, value)
            kinds = get_args(each.type) if get_origin(each.type) is Union else (each.type,)
            fits, names = zip(*(_fits(value, kind) for kind in kinds))
            if not any(fits):
                got = f"{self.part}.{each.name}: {json.dumps(value, default=repr)}"
                raise InputError(f"{got} is not allowed; give {' or '.join(names)}")


def _fits(value: Any, kind: Any) -> tuple[bool, str]:
    """Return whether ``value`` has the type ``kind``, and the name of that type."""
    if kind is NoneType:
        return value is None, "null"
    if kind is bool:
        return isinstance(value, bool), "true or false"
    if get_origin(kind) is Literal:
        return value in get_args(kind), " or ".join(get_args(kind))
    number, (low, high, name) = get_args(kind)
    return type(value) is number and low <= value <= high and math.isfinite(value), name


@dataclass(frozen=True)
class ImageSettings(_Settings):
    """Size of the EfficientNet trunk and of its input.

    Paper: Sections 4.1 and 5. It does not say over how many pairs BatchNorm ran. EfficientNet's
    TPU code averages the statistics over ``max(8, cores // 8)`` cores, here 2,048 pairs;
    COYO-ALIGN needed groups of 16 pairs. The default is 16, the one number reported to work.
    """

    part = "image"
    width: Scale = 4.3  # multiplier on the channels of EfficientNet-B0; 4.3 is L2
    depth: Scale = 5.3  # multiplier on its blocks
    resize: Side = 346  # pixels per side after resizing; the aspect ratio is not kept
    crop: Side = 289  # pixels per side of the input: a random crop in training, else the central
    projection: Width | None = None  # width of an extra linear layer (paper: only B1, B3, B5)
    batch_norm_momentum: Momentum = 0.01  # weight of the new batch; TensorFlow calls this 0.99
    ghost_batch: Batch | None = 16  # pairs that share BatchNorm statistics; None: the whole batch
    stochastic_depth: Share = 0.2  # drop rate of the last block, for each sample separately
    padding: Padding = "same"  # of stride-2 convolutions; "same" is TensorFlow's, as in the paper
    recompute: bool = False  # recompute blocks in the backward pass: less memory, more time


@dataclass(frozen=True)
class TextSettings(_Settings):
    """Size of the BERT tower and of its vocabulary. Paper: Sections 4.1 and 5."""

    part = "text"
    layers: Few = 24
    width: Width = 1024
    heads: Count = 16
    vocabulary_size: Count = 100_000
    max_length: Length = 64  # word pieces of a text, [CLS] and [SEP] included
    dropout: Share = 0.1
    positions: Count = 512  # rows of BERT's position table; texts use the first max_length
    pooler: bool = False  # keep BERT's pooler: ALIGN never uses it, the released weights hold it


@dataclass(frozen=True)
class LossSettings(_Settings):
    """The loss, its label smoothing, and its temperature.

    With ``cores`` = C the loss is the mean of the losses of C parts of the batch: what C cores
    would minimise if they did not gather each other's embeddings, as the paper does.

    Paper: Section 4.1, eq. (1) and eq. (2), "we concatenate embeddings"; Section 5.
    """

    part = "loss"
    label_smoothing: Share = 0.1
    temperature: Positive = 1.0  # initial σ
    learned: bool = True
    log_temperature: bool = False  # learn log σ instead of σ
    negatives: Fraction = 1.0  # fraction of the in-batch negatives (paper: Table 8)
    kind: Literal["softmax", "sigmoid"] = "softmax"  # sigmoid is SigLIP's loss, for comparison
    bias: Finite = -10.0  # initial bias of the sigmoid loss; the softmax has none
    tile: Count | None = None  # rows of the N x N matrix in memory at a time; None: all
    cores: Count = 1  # equal parts of the batch, in order, that are not each other's negatives


@dataclass(frozen=True)
class Recipe(_Settings):
    """Optimiser, learning-rate schedule, and batch. Paper: Section 5."""

    part = "recipe"
    optimizer: Literal["lamb", "adamw", "muon", "sgd"] = "lamb"
    learning_rate: NotNegative = 1e-3
    beta1: Share = 0.9
    beta2: Share = 0.999
    weight_decay: NotNegative = 1e-5
    steps: Count = 1_200_000
    warmup: Share = 10_000 / 1_200_000  # share of the run with linear warm-up
    batch_size: Batch = 16_384
    chunk: Batch | None = None  # pairs embedded at a time (gradient cache); None: all
    compile: bool = False  # compile the image tower where a C++ compiler is found
    workers: Few = 0  # processes that read images; 0 reads in the training process
    pixel_cache_gib: NotNegative = 2.0  # memory for decoded pictures
    checkpoint_steps: Count = 1_000
    log_steps: Count = 10


_PARTS = {each.part: each for each in (ImageSettings, TextSettings, LossSettings, Recipe)}


@dataclass(frozen=True)
class Preset:
    """A whole recipe: towers, loss, and training."""

    name: str
    image: ImageSettings = field(default_factory=ImageSettings)
    text: TextSettings = field(default_factory=TextSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        image, text, recipe, chunk = self.image, self.text, self.recipe, self.recipe.chunk
        cores, batch = self.loss.cores, recipe.batch_size
        whole = chunk is None and self.loss.kind == "softmax"
        for name, value, fits, wanted in (
            ("image.crop", image.crop, image.crop <= image.resize, f"at most {image.resize}"),
            ("text.heads", text.heads, text.width % text.heads == 0, f"a divisor of {text.width}"),
            ("text.max_length", text.max_length, text.max_length <= text.positions,
             f"at most text.positions, {text.positions}"),
            ("recipe.chunk", chunk, chunk is None or recipe.batch_size % chunk != 1,
             "a number that leaves no single pair"),
            ("loss.cores", cores, cores == 1 or (batch % cores == 0 and batch > cores),
             f"a divisor of recipe.batch_size, {batch}, below it"),
            ("loss.cores", cores, cores == 1 or whole, "1 with loss.kind=sigmoid or recipe.chunk"),
        ):  # fmt: skip
            if not fits:
                raise InputError(f"{name}: {value} is not allowed; give {wanted}")

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as plain JSON values, for :func:`preset_from_dict`."""
        return asdict(self)


_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
IMAGE_SIZES = {name: ImageSettings(*size) for name, size in _TABLE["image_sizes"].items()}
TEXT_SIZES = {name: TextSettings(*size) for name, size in _TABLE["text_sizes"].items()}


def get_preset(name: str) -> Preset:
    """Return the preset called ``name``. Raises InputError for an unknown name.

    >>> get_preset("cc3m").recipe.steps
    120000
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} does not exist; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def replace_fields(preset: Preset, changes: dict[str, str] | Sequence[str]) -> Preset:
    """Return the preset with fields changed, as ``align-edu train --set part.field=value`` does.

    A value is JSON (``0.1``, ``true``, ``null``) or a plain word. Raises InputError for an unknown
    field, or a value that the field does not allow.

    >>> replace_fields(get_preset("toy"), ["recipe.batch_size=64"]).recipe.batch_size
    64
    """
    if not isinstance(changes, dict):
        if wrong := [text for text in changes if "=" not in text]:
            raise InputError(f"--set {wrong[0]}: write part.field=value, as in image.crop=64")
        changes = dict(text.split("=", 1) for text in changes)
    known = [f"{part}.{f.name}" for part, settings in _PARTS.items() for f in fields(settings)]
    changed = preset.to_dict()
    for path, value in changes.items():
        if path not in known:
            raise InputError(f"--set {path}: no such field; choose one of {', '.join(known)}")
        part, _, name = path.partition(".")
        changed[part][name] = value
        with suppress(ValueError):  # not JSON, or a number of too many digits
            changed[part][name] = json.loads(value)
    return _of_values(changed)


def _of_values(values: dict[str, Any]) -> Preset:
    parts: dict[str, Any] = {part: settings(**values[part]) for part, settings in _PARTS.items()}
    return Preset(values["name"], **parts)


def fine_tuning(preset: Preset, steps: int = 3_000) -> Preset:
    """Return the preset with the recipe that fine-tunes it for retrieval.

    The batch is an eighth, because few images make many false negatives, but at least 128 pairs;
    the learning rate is a hundredth, without warm-up. steps: 3,000 for Flickr30K, 6,000 for COCO.

    Paper: Section 5.1, whose numbers the paper's presets get.

    >>> recipe = fine_tuning(get_preset("l2_large")).recipe
    >>> recipe.batch_size, recipe.learning_rate, recipe.warmup
    (2048, 1e-05, 0.0)
    """
    recipe = preset.recipe
    batch = min(recipe.batch_size, max(128, recipe.batch_size // 8))
    rate = recipe.learning_rate / 100
    recipe = replace(recipe, batch_size=batch, learning_rate=rate, warmup=0.0, steps=steps)
    return replace(preset, recipe=recipe)


def preset_from_dict(values: dict[str, Any]) -> Preset:
    """Return the preset that :meth:`Preset.to_dict` wrote.

    Raises InputError unless ``values`` has every field of a preset, and no others.

    >>> preset_from_dict(get_preset("toy").to_dict()) == get_preset("toy")
    True
    """
    with suppress(KeyError, TypeError):
        values = values | {"loss": {"cores": 1} | values["loss"]}  # older runs have no loss.cores
        if (preset := _of_values(values)).to_dict() == values:
            return preset
    raise InputError("config.json: not a preset of this version; train the run again")


def _of_table(name: str, changes: dict[str, Any]) -> Preset:
    image, text = changes.pop("image", "L2"), changes.pop("text", "large")
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in changes.items()}
    return replace_fields(Preset(name, IMAGE_SIZES[image], TEXT_SIZES[text]), values)


PRESETS = {name: _of_table(name, changes) for name, changes in _TABLE["presets"].items()}
