"""EfficientNet weights of torchvision, timm and transformers, under the names of our trunk."""

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor, nn

from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower

Source = Literal["transformers", "timm", "torchvision"]

# The layers of a block, in our order: convolution and BatchNorm of the expansion (the blocks of
# the first stage have none) and of the depthwise convolution; squeeze and excitation; projection.
_TRANSFORMERS = (
    "expansion.expand_conv", "expansion.expand_bn",
    "depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm",
    "squeeze_excite.reduce", "squeeze_excite.expand",
    "projection.project_conv", "projection.project_bn",
)  # fmt: skip
_TIMM = ("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3")
_TIMM_FIRST_STAGE = ("conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2")
_STEM = {
    "transformers": ("embeddings.convolution", "embeddings.batchnorm"),
    "timm": ("conv_stem", "bn1"),
}
_HEADS = ("conv_head.", "bn2.", "classifier.", "features.8.")  # not part of ALIGN


def load_trunk(tower: ImageTower, weights: Mapping[str, Tensor], source: Source) -> None:
    """Copy the weights of another library's EfficientNet into the tower's trunk, in place.

    weights: the ``state_dict()`` of torchvision's ``efficientnet_b0`` … ``b7`` (padding
    ``"symmetric"``; BatchNorm's epsilon is 1e-5 in B0 to B4), of timm's ``tf_efficientnet_b0`` …
    ``l2`` (``"same"``), or of the ``vision_model`` of transformers' AlignModel
    (``"tf_static"``). Head convolution and classifier are ignored.
    Raises InputError for a missing or unknown name, or the shape of another size.

    Paper: Section 4.1 (no 1×1 convolution with activation in the classification head).

    >>> from align_edu.presets import ImageSettings
    >>> one, other = (ImageTower(ImageSettings(width=0.35, depth=0.35)) for _ in range(2))
    >>> weights = {f"features.{name}": w for name, w in one.trunk.state_dict().items()}
    >>> load_trunk(other, weights, "torchvision")
    >>> bool((other.trunk[0][0].weight == one.trunk[0][0].weight).all())
    True
    """
    if source not in get_args(Source):
        raise InputError(f"source {source!r}: choose one of {', '.join(get_args(Source))}")
    body = {name: tensor for name, tensor in weights.items() if not name.startswith(_HEADS)}
    names = trunk_names(tower, source)
    copy_weights(tower.trunk, body, names, f"{source} weights", "build the tower of their size")


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


def trunk_names(tower: ImageTower, source: Source) -> dict[str, str]:
    """Return the name in ``source`` of each tensor of ``tower.trunk``.

    >>> from align_edu.presets import ImageSettings
    >>> names = trunk_names(ImageTower(ImageSettings(width=0.35, depth=0.35)), "timm")
    >>> names["2.0.block.3.0.weight"]
    'blocks.1.0.conv_pwl.weight'
    """
    tensors = list(tower.trunk.state_dict())
    if source == "torchvision":
        return {name: f"features.{name}" for name in tensors}
    layers = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    theirs, number = list(_STEM[source]), 0
    named: tuple[str, ...]
    for stage, blocks in enumerate(list(tower.trunk)[1:]):
        for j, block in enumerate(blocks):
            parts = len(block.block)
            if source == "timm":
                name, named = f"blocks.{stage}.{j}", _TIMM if parts == 4 else _TIMM_FIRST_STAGE
            else:  # the last layers, without an expansion in the first stage
                name, named = f"encoder.blocks.{number}", _TRANSFORMERS[-2 * parts :]
            theirs += [f"{name}.{layer}" for layer in named]
            number += 1
    new_name = dict(zip(layers, theirs, strict=True))
    split = ((name, *name.rpartition(".")) for name in tensors)
    return {name: f"{new_name[layer]}.{tensor}" for name, layer, _, tensor in split}
