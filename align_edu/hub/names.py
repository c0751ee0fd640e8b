"""What Hugging Face calls our settings and the weights of our image tower."""

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from align_edu.io import InputError, read_json
from align_edu.model.image_tower import ImageTower
from align_edu.presets import ImageSettings, LossSettings, Preset, TextSettings

if TYPE_CHECKING:
    from transformers import AlignConfig

MAX_LENGTH = 64  # word pieces per text of the released weights

_NAMES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_IMAGE, _WORDS, _DEFAULTS, _PIXELS, _LAYERS = _NAMES.values()


def read_config(where: Path) -> "AlignConfig":
    """Return the configuration in ``config.json``; raise InputError for another model's."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AlignConfig

    values = stored if isinstance(stored := read_json(where), dict) else {}
    if "preset" in values:
        raise InputError(f"{where}: a run of align_edu, not an AlignModel; use load_run")
    if (kind := values.get("model_type")) != "align":
        raise InputError(f"{where}: model_type is {kind!r}, not 'align'; give an AlignModel")
    try:
        return AlignConfig.from_dict(values)
    except (StrictDataclassError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{where}: not an AlignModel's configuration ({reason})") from error


def preset_from_hf(config: "AlignConfig", where: Path, name: str) -> Preset:
    """Return the settings of an AlignModel, from the files beside ``where``, its config.json.

    Raises InputError for a model that our towers cannot compute.

    Paper: Section 5 (resize, crop, 64 tokens).
    """
    vision: Any = config.vision_config
    text: Any = config.text_config
    same = {
        "intermediate_size": 4 * text.hidden_size,
        "attention_probs_dropout_prob": text.hidden_dropout_prob,
    }
    _check(vision, {name: getattr(type(vision)(), name) for name in _DEFAULTS["vision"]}, where)
    _check(text, {name: getattr(type(text)(), name) for name in _DEFAULTS["text"]} | same, where)
    _check_padding(vision, where)
    resize, crop = _picture_sizes(vision.image_size, where)
    momentum = vision.batch_norm_momentum
    # TensorFlow's 0.99 is torch's 0.01.
    momentum = round(1 - momentum, 6) if momentum > 0.5 else momentum
    sizes = {ours: getattr(vision, theirs) for ours, theirs in _IMAGE.items()}
    sizes |= {"resize": resize, "crop": crop, "batch_norm_momentum": momentum}
    words = {ours: getattr(text, theirs) for ours, theirs in _WORDS.items()}
    words |= {"max_length": min(MAX_LENGTH, text.max_position_embeddings), "pooler": True}
    towers = ImageSettings(**sizes, padding="tf_static"), TextSettings(**words)
    return Preset(name, *towers, LossSettings(temperature=1.0))


def hf_from_preset(preset: Preset, vocabulary_size: int, width: int) -> "AlignConfig":
    """Return the AlignModel's configuration of a model of ours.

    BatchNorm's momentum is written as torch's (0.01), because AlignModel passes it to torch.
    Raises InputError for a model that AlignModel cannot compute.
    """
    from transformers import AlignConfig

    image, text = preset.image, preset.text
    for name, value in {"padding": "tf_static", "projection": None}.items():
        if (got := getattr(image, name)) != value:
            remedy = f"train a model with --set image.{name}={json.dumps(value)}"
            raise InputError(f"AlignModel has no image tower with {name} {got!r}; {remedy}")
    words = {theirs: getattr(text, ours) for ours, theirs in _WORDS.items()}
    words |= {"vocab_size": vocabulary_size, "attention_probs_dropout_prob": text.dropout}
    words |= {"intermediate_size": 4 * text.width}
    words |= {"max_position_embeddings": max(text.positions, text.max_length)}
    vision = {theirs: getattr(image, ours) for ours, theirs in _IMAGE.items()}
    vision |= {"image_size": image.crop, "hidden_dim": width, "depthwise_padding": []}
    vision |= {"batch_norm_momentum": image.batch_norm_momentum}
    form: dict[str, Any] = {"text_config": words, "vision_config": vision, "dtype": "float32"}
    return AlignConfig(architectures=["AlignModel"], projection_dim=width, **form)


def pixels_from_preset(preset: Preset) -> dict[str, Any]:
    """Return the values of an ``EfficientNetImageProcessor``. Paper: Section 5."""
    sides = {"size": preset.image.resize, "crop_size": preset.image.crop}
    return _PIXELS | {name: {"height": side, "width": side} for name, side in sides.items()}


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
        named = f"vision_config.depthwise_padding names block {changed[0]}, of stride 2"
        raise InputError(f"{where}: {named}; our tower pads all blocks alike, as ALIGN does")


def _picture_sizes(image_size: Any, where: Path) -> tuple[int, int]:
    """Return the sides of the resized picture and of its crop, from the image processor's file."""
    files = (where.with_name(f"{name}_config.json") for name in ("processor", "preprocessor"))
    newer, older = (read_json(file) if file.exists() else {} for file in files)
    pixels = newer.get("image_processor") or older  # of transformers 5, or before
    if not pixels:  # the paper's ratio
        if not isinstance(image_size, int):
            raise InputError(f"{where}: image_size is {image_size}; our towers need one number")
        return round(image_size * 346 / 289), image_size
    for name, expected in _PIXELS.items():
        got = pixels.get(name, name in ("do_resize", "do_rescale"))  # on when absent
        if not isinstance(got, int | float) or not math.isclose(got, expected, rel_tol=1e-6):
            reason = f"the image processor has {name} = {got}, ALIGN's {expected}"
            raise InputError(f"{where.parent}: {reason}")
    for side in (pixels.get("size"), pixels.get("crop_size")):
        if not isinstance(side, dict) or side.get("height") != side.get("width"):
            raise InputError(f"{where.parent}: pictures of size {side}; ALIGN's are square")
    return pixels["size"]["height"], pixels["crop_size"]["height"]


def trunk_names(tower: ImageTower) -> dict[str, str]:
    """Return the name in AlignModel's ``vision_model`` of each tensor of ``tower.trunk``."""
    theirs = [*_LAYERS["stem"]]
    for number, block in enumerate(block for stage in list(tower.trunk)[1:] for block in stage):
        named = _LAYERS["block"][-2 * len(block.block) :]
        theirs += [f"encoder.blocks.{number}.{layer}" for layer in named]
    split = {name: name.rpartition(".") for name in tower.trunk.state_dict()}
    new_name = dict(zip(dict.fromkeys(layer for layer, *_ in split.values()), theirs, strict=True))
    return {name: f"{new_name[layer]}.{tensor}" for name, (layer, _, tensor) in split.items()}


def copy_weights(
    module: nn.Module, weights: Mapping[str, Tensor], names: dict[str, str], where: str, remedy: str
) -> None:
    """Load ``weights`` into ``module``; ``names`` maps its names to theirs. Raises InputError."""
    for ours, tensor in module.state_dict().items():
        if names[ours] not in weights:
            raise InputError(f"{where}: {names[ours]} is missing; {remedy}")
        got, expected = tuple(weights[names[ours]].shape), tuple(tensor.shape)
        if got != expected:
            raise InputError(f"{where}: {names[ours]} has shape {got}, not {expected}; {remedy}")
    if unknown := sorted(weights.keys() - set(names.values())):
        raise InputError(f"{where}: {unknown[0]} does not exist in the model; {remedy}")
    module.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()})
