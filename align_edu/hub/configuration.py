"""Hugging Face's configuration of ALIGN read as our settings, and written from them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align_edu.io import InputError
from align_edu.presets import ImageSettings, LossSettings, Preset, TextSettings

if TYPE_CHECKING:
    from transformers import AlignConfig

MAX_LENGTH = 64  # of the released weights' texts, in word pieces
_RESIZE_TO_CROP = 346 / 289

# What EfficientNet and BERT are; a checkpoint of anything else is refused by name.
_VISION = {
    "num_channels": 3,
    "depth_divisor": 8,
    "kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "in_channels": [32, 16, 24, 40, 80, 112, 192],
    "out_channels": [16, 24, 40, 80, 112, 192, 320],
    "strides": [1, 2, 2, 2, 1, 2, 1],
    "num_block_repeats": [1, 2, 2, 3, 3, 4, 1],
    "expand_ratios": [1, 6, 6, 6, 6, 6, 6],
    "squeeze_expansion_ratio": 0.25,
    "hidden_act": "swish",
    "pooling_type": "mean",
    "batch_norm_eps": 0.001,
}
_TEXT = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2, "pad_token_id": 0}
_PIXELS = {
    "do_resize": True,
    "resample": 2,  # bilinear
    "do_center_crop": True,
    "do_rescale": True,
    "rescale_factor": 1 / 127.5,
    "rescale_offset": True,
    "do_normalize": False,
    "include_top": False,
}
_ON_WHEN_ABSENT = ("do_resize", "do_rescale")


def read_config(values: Any, where: Path) -> "AlignConfig":
    """Return the configuration in the JSON object of a ``config.json``.

    Raises InputError when it is another model's, or no configuration at all.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AlignConfig

    kind = values.get("model_type") if isinstance(values, dict) else None
    if isinstance(values, dict) and "preset" in values:
        raise InputError(f"{where}: a run of align_edu, not an AlignModel; use load_run")
    if kind != "align":
        raise InputError(
            f"{where}: model_type is {kind!r}, not 'align'; give the folder of an AlignModel"
        )
    try:
        return AlignConfig.from_dict(values)
    except (StrictDataclassError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{where}: not an AlignModel's configuration ({reason})") from error


def preset_from_hf(config: "AlignConfig", pixels: dict[str, Any], where: Path) -> Preset:
    """Return the settings of an AlignModel.

    pixels: the ``EfficientNetImageProcessor``'s values, empty for those of the paper (resize and
    crop as 346 : 289). BatchNorm's momentum 0.99 is TensorFlow's and becomes torch's 0.01.
    Raises InputError for whatever our towers are not.

    Paper: Section 5 (resize, crop, 64 tokens).
    """
    vision: Any = config.vision_config
    text: Any = config.text_config
    _check(vision, _VISION, where)
    _check(text, _TEXT | {"intermediate_size": 4 * text.hidden_size}, where)
    _check(text, {"attention_probs_dropout_prob": text.hidden_dropout_prob}, where)
    _check_padding(vision, where)
    resize, crop = _picture_sizes(pixels, vision.image_size, where)
    momentum = vision.batch_norm_momentum
    image = ImageSettings(
        width=vision.width_coefficient,
        depth=vision.depth_coefficient,
        resize=resize,
        crop=crop,
        batch_norm_momentum=round(1 - momentum, 6) if momentum > 0.5 else momentum,
        stochastic_depth=vision.drop_connect_rate,
        padding="tf_static",
    )
    words = TextSettings(
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        heads=text.num_attention_heads,
        vocabulary_size=text.vocab_size,
        max_length=min(MAX_LENGTH, text.max_position_embeddings),
        dropout=text.hidden_dropout_prob,
        positions=text.max_position_embeddings,
        pooler=True,
    )
    return Preset(where.parent.name, image, words, LossSettings(temperature=1.0))


def hf_from_preset(preset: Preset, vocabulary_size: int, width: int) -> "AlignConfig":
    """Return the AlignModel's configuration for a model of ours.

    BatchNorm's momentum is written as torch understands it (0.01), because AlignModel hands it
    to torch as it is. Raises InputError for a model that AlignModel cannot compute.
    """
    from transformers import AlignConfig

    image, text = preset.image, preset.text
    if image.padding != "tf_static":
        raise InputError(
            f"AlignModel knows only the padding 'tf_static', this model was built with"
            f" {image.padding!r}; train one with --set image.padding=tf_static"
        )
    if image.projection:
        raise InputError(
            "AlignModel has no linear layer after its image tower; train a model with"
            " --set image.projection=null"
        )
    return AlignConfig(
        architectures=["AlignModel"],
        dtype="float32",
        projection_dim=width,
        text_config={
            "vocab_size": vocabulary_size,
            "hidden_size": text.width,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "intermediate_size": 4 * text.width,
            "max_position_embeddings": max(text.positions, text.max_length),
            "hidden_dropout_prob": text.dropout,
            "attention_probs_dropout_prob": text.dropout,
        },
        vision_config={
            "image_size": image.crop,
            "width_coefficient": image.width,
            "depth_coefficient": image.depth,
            "hidden_dim": width,
            "depthwise_padding": [],
            "batch_norm_momentum": image.batch_norm_momentum,
            "drop_connect_rate": image.stochastic_depth,
        },
    )


def pixels_from_preset(preset: Preset) -> dict[str, Any]:
    """Return the values of an ``EfficientNetImageProcessor`` that prepares pictures as we do.

    Paper: Section 5.

    >>> from align_edu.presets import get_preset
    >>> pixels_from_preset(get_preset("b7_base"))["crop_size"]
    {'height': 289, 'width': 289}
    """
    image = preset.image
    return _PIXELS | {
        "size": {"height": image.resize, "width": image.resize},
        "crop_size": {"height": image.crop, "width": image.crop},
    }


def _check(part: Any, expected: dict[str, Any], where: Path) -> None:
    for name, value in expected.items():
        got = getattr(part, name)
        if got != value and not (name == "hidden_act" and got == "silu" and value == "swish"):
            raise InputError(
                f"{where}: {part.base_config_key}.{name} is {got}; our towers have {value} there"
            )


def _check_padding(vision: Any, where: Path) -> None:
    """Blocks of stride 2 with symmetric zeros are another network; at stride 1 nothing changes."""
    repeats = [math.ceil(vision.depth_coefficient * n) for n in vision.num_block_repeats]
    firsts = [sum(repeats[:stage]) for stage in range(len(repeats)) if vision.strides[stage] == 2]
    changed = sorted(set(firsts) & set(vision.depthwise_padding))
    if changed:
        raise InputError(
            f"{where}: vision_config.depthwise_padding names block {changed[0]}, of stride 2; our"
            " tower pads all blocks alike, as the released weights do (depthwise_padding [])"
        )


def _picture_sizes(pixels: dict[str, Any], image_size: Any, where: Path) -> tuple[int, int]:
    """The sides of the resized picture and of its crop."""
    if not pixels:
        if not isinstance(image_size, int):
            raise InputError(f"{where}: image_size is {image_size}; our towers need one number")
        return round(image_size * _RESIZE_TO_CROP), image_size
    for name, expected in _PIXELS.items():
        got = pixels.get(name, name in _ON_WHEN_ABSENT)
        if not isinstance(got, int | float) or not math.isclose(got, expected, rel_tol=1e-6):
            raise InputError(
                f"{where.parent}: pictures are prepared with {name} = {got}, ALIGN's with"
                f" {expected}; mend the processor's file"
            )
    sides = [pixels.get(name) for name in ("size", "crop_size")]
    for side in sides:
        if not isinstance(side, dict) or side.get("height") != side.get("width"):
            raise InputError(f"{where.parent}: pictures of size {side}; ALIGN's are square")
    return sides[0]["height"], sides[1]["height"]  # type: ignore[index]
