"""Hugging Face's configuration of ALIGN as our settings, and our settings as that configuration."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align_edu.io import InputError, read_json
from align_edu.presets import ImageSettings, LossSettings, Preset, TextSettings

if TYPE_CHECKING:
    from transformers import AlignConfig

MAX_LENGTH = 64  # word pieces per text of the released weights
_RESIZE_TO_CROP = 346 / 289

# Our names of settings, and Hugging Face's.
_IMAGE = {
    "width": "width_coefficient",
    "depth": "depth_coefficient",
    "stochastic_depth": "drop_connect_rate",
}
_WORDS = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "vocabulary_size": "vocab_size",
    "dropout": "hidden_dropout_prob",
    "positions": "max_position_embeddings",
}
# Settings of EfficientNet and BERT that must have Hugging Face's defaults.
_VISION = """num_channels depth_divisor kernel_sizes in_channels out_channels strides
num_block_repeats expand_ratios squeeze_expansion_ratio hidden_act pooling_type batch_norm_eps"""
_TEXT = "hidden_act layer_norm_eps type_vocab_size pad_token_id"
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

    Raises InputError when it belongs to another model, or is no configuration.
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


def read_pixels(folder: Path) -> dict[str, Any]:
    """Return the image processor's values, from transformers 5's file or the older one."""
    path, older = folder / "processor_config.json", folder / "preprocessor_config.json"
    values = read_json(path) if path.exists() else {}
    if isinstance(values, dict) and "image_processor" in values:
        return values["image_processor"]
    return read_json(older) if older.exists() else {}


def preset_from_hf(config: "AlignConfig", pixels: dict[str, Any], where: Path) -> Preset:
    """Return the settings of an AlignModel.

    pixels: the values of its ``EfficientNetImageProcessor``; empty: those of the paper, with
    resize and crop as 346 : 289. BatchNorm's momentum 0.99, TensorFlow's, becomes torch's 0.01.
    Raises InputError for a model that our towers cannot compute.

    Paper: Section 5 (resize, crop, 64 tokens).
    """
    vision: Any = config.vision_config
    text: Any = config.text_config
    _check(vision, _defaults(vision, _VISION), where)
    same = {
        "intermediate_size": 4 * text.hidden_size,
        "attention_probs_dropout_prob": text.hidden_dropout_prob,
    }
    _check(text, _defaults(text, _TEXT) | same, where)
    _check_padding(vision, where)
    resize, crop = _picture_sizes(pixels, vision.image_size, where)
    momentum = vision.batch_norm_momentum
    image = ImageSettings(
        **{ours: getattr(vision, theirs) for ours, theirs in _IMAGE.items()},
        resize=resize,
        crop=crop,
        batch_norm_momentum=round(1 - momentum, 6) if momentum > 0.5 else momentum,
        padding="tf_static",
    )
    words = TextSettings(
        **{ours: getattr(text, theirs) for ours, theirs in _WORDS.items()},
        max_length=min(MAX_LENGTH, text.max_position_embeddings),
        pooler=True,
    )
    return Preset(where.parent.name, image, words, LossSettings(temperature=1.0))


def hf_from_preset(preset: Preset, vocabulary_size: int, width: int) -> "AlignConfig":
    """Return the AlignModel's configuration of a model of ours.

    BatchNorm's momentum is written as torch's (0.01), because AlignModel passes it to torch.
    Raises InputError for a model that AlignModel cannot compute.
    """
    from transformers import AlignConfig

    image, text = preset.image, preset.text
    if image.padding != "tf_static":
        raise InputError(
            f"AlignModel has only the padding 'tf_static', this model has {image.padding!r};"
            " train one with --set image.padding=tf_static"
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
        text_config={theirs: getattr(text, ours) for ours, theirs in _WORDS.items()}
        | {
            "vocab_size": vocabulary_size,
            "intermediate_size": 4 * text.width,
            "max_position_embeddings": max(text.positions, text.max_length),
            "attention_probs_dropout_prob": text.dropout,
        },
        vision_config={theirs: getattr(image, ours) for ours, theirs in _IMAGE.items()}
        | {
            "image_size": image.crop,
            "hidden_dim": width,
            "depthwise_padding": [],
            "batch_norm_momentum": image.batch_norm_momentum,
        },
    )


def pixels_from_preset(preset: Preset) -> dict[str, Any]:
    """Return the values of an ``EfficientNetImageProcessor`` with the preset's preprocessing.

    Paper: Section 5.

    >>> from align_edu.presets import get_preset
    >>> pixels_from_preset(get_preset("b7_base"))["crop_size"]
    {'height': 289, 'width': 289}
    """
    sides = {"size": preset.image.resize, "crop_size": preset.image.crop}
    return _PIXELS | {name: {"height": side, "width": side} for name, side in sides.items()}


def _defaults(part: Any, names: str) -> dict[str, Any]:
    default = type(part)()
    return {name: getattr(default, name) for name in names.split()}


def _check(part: Any, expected: dict[str, Any], where: Path) -> None:
    for name, value in expected.items():
        got = getattr(part, name)
        if got != value and not (name == "hidden_act" and got == "silu" and value == "swish"):
            raise InputError(f"{where}: {part.base_config_key}.{name} is {got}, ALIGN has {value}")


def _check_padding(vision: Any, where: Path) -> None:
    """Refuse symmetric padding in blocks of stride 2; at stride 1 it makes no difference."""
    repeats = [math.ceil(vision.depth_coefficient * n) for n in vision.num_block_repeats]
    firsts = [sum(repeats[:stage]) for stage in range(len(repeats)) if vision.strides[stage] == 2]
    if changed := sorted(set(firsts) & set(vision.depthwise_padding)):
        raise InputError(
            f"{where}: vision_config.depthwise_padding names block {changed[0]}, of stride 2; our"
            " tower pads all blocks alike, as the released weights do (depthwise_padding [])"
        )


def _picture_sizes(pixels: dict[str, Any], image_size: Any, where: Path) -> tuple[int, int]:
    """Return the sides of the resized picture and of its crop."""
    if not pixels:
        if not isinstance(image_size, int):
            raise InputError(f"{where}: image_size is {image_size}; our towers need one number")
        return round(image_size * _RESIZE_TO_CROP), image_size
    for name, expected in _PIXELS.items():
        got = pixels.get(name, name in _ON_WHEN_ABSENT)
        if not isinstance(got, int | float) or not math.isclose(got, expected, rel_tol=1e-6):
            raise InputError(
                f"{where.parent}: the image processor has {name} = {got}, ALIGN's {expected};"
                " correct its file"
            )
    for side in (pixels.get("size"), pixels.get("crop_size")):
        if not isinstance(side, dict) or side.get("height") != side.get("width"):
            raise InputError(f"{where.parent}: pictures of size {side}; ALIGN's are square")
    return pixels["size"]["height"], pixels["crop_size"]["height"]
