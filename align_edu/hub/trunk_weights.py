"""EfficientNet weights of torchvision, timm and transformers by the names of our trunk."""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from torch import Tensor, nn

from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower

Source = Literal["transformers", "timm", "torchvision"]

# Each part of a block has two layers: a convolution and its BatchNorm; squeeze and excitation
# has its two convolutions. What the first stage's blocks lack is the first part, the expansion.
_TRANSFORMERS = (
    ("expansion.expand_conv", "expansion.expand_bn"),
    ("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm"),
    ("squeeze_excite.reduce", "squeeze_excite.expand"),
    ("projection.project_conv", "projection.project_bn"),
)
_TIMM = (
    ("conv_pw", "bn1"),
    ("conv_dw", "bn2"),
    ("se.conv_reduce", "se.conv_expand"),
    ("conv_pwl", "bn3"),
)
_TIMM_FIRST_STAGE = (("conv_dw", "bn1"), ("se.conv_reduce", "se.conv_expand"), ("conv_pw", "bn2"))
_STEM = {
    "transformers": ("embeddings.convolution", "embeddings.batchnorm"),
    "timm": ("conv_stem", "bn1"),
    "torchvision": ("features.0.0", "features.0.1"),
}
_HEADS = ("conv_head.", "bn2.", "classifier.", "features.8.")  # what ALIGN leaves out


def load_trunk(tower: ImageTower, weights: Mapping[str, Tensor], source: Source) -> None:
    """Copy the weights of another library's EfficientNet into the tower's trunk, in place.

    weights: a ``state_dict()`` of torchvision's ``efficientnet_b0`` … ``b7``, of timm's
    ``tf_efficientnet_b0`` … ``l2``, or of the ``vision_model`` of transformers' AlignModel, of
    the tower's size. A head convolution and a classifier are left out. Outputs are equal with
    the padding that the weights were trained with: ``"symmetric"`` for torchvision, ``"same"``
    for timm, ``"tf_static"`` for transformers; torchvision's B0 to B4 also have another epsilon
    in their BatchNorm (1e-5).
    Raises InputError when a name is missing or left over, or a shape is another size's.

    Paper: Section 4.1 (no 1×1 convolution with activation in the classification head).

    >>> from align_edu.presets import ImageSettings
    >>> one, other = (ImageTower(ImageSettings(width=0.35, depth=0.35)) for _ in range(2))
    >>> weights = {f"features.{name}": w for name, w in one.trunk.state_dict().items()}
    >>> load_trunk(other, weights, "torchvision")
    >>> bool((other.trunk[0][0].weight == one.trunk[0][0].weight).all())
    True
    """
    if source not in get_args(Source):
        raise InputError(
            f"source {source!r} is not known; choose one of {', '.join(get_args(Source))}"
        )
    names = trunk_names(tower, source)
    own = tower.trunk.state_dict()
    for ours, theirs in names.items():
        if theirs not in weights:
            raise InputError(
                f"{source} weights: {theirs} is not there; give the state_dict of an EfficientNet"
                " of the tower's depth"
            )
        if weights[theirs].shape != own[ours].shape:
            raise InputError(
                f"{source} weights: {theirs} is {tuple(weights[theirs].shape)}, the tower needs"
                f" {tuple(own[ours].shape)}; build the tower with the width of the weights"
            )
    left = [name for name in weights if name not in set(names.values())]
    left = [name for name in left if not name.startswith(_HEADS)]
    if left:
        raise InputError(
            f"{source} weights: {left[0]} has no place in the tower; build it with the depth of"
            " the weights"
        )
    tower.trunk.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()})


def trunk_names(tower: ImageTower, source: Source) -> dict[str, str]:
    """Return the name in ``source`` of each tensor of ``tower.trunk``.

    >>> from align_edu.presets import ImageSettings
    >>> names = trunk_names(ImageTower(ImageSettings(width=0.35, depth=0.35)), "timm")
    >>> names["2.0.block.3.0.weight"]
    'blocks.1.0.conv_pwl.weight'
    """
    layers = dict(_layers(tower, source))
    names = {}
    for name in tower.trunk.state_dict():
        layer, _, tensor = name.rpartition(".")
        names[name] = f"{layers[layer]}.{tensor}"
    return names


def _layers(tower: ImageTower, source: Source) -> Iterator[tuple[str, str]]:
    """Our name and theirs of each convolution and BatchNorm."""
    yield from zip(("0.0", "0.1"), _STEM[source], strict=True)
    index = 0
    for stage, blocks in enumerate(list(tower.trunk)[1:]):
        for j, block in enumerate(blocks):
            ours = list(_own_layers(block))
            prefix = f"{stage + 1}.{j}.block"
            if source == "torchvision":
                theirs = [f"features.{prefix}.{layer}" for layer in ours]
            elif source == "timm":
                names = _TIMM if len(block.block) == 4 else _TIMM_FIRST_STAGE
                theirs = [f"blocks.{stage}.{j}.{layer}" for part in names for layer in part]
            else:
                parts = _TRANSFORMERS[-len(block.block) :]
                theirs = [f"encoder.blocks.{index}.{layer}" for part in parts for layer in part]
            yield from zip((f"{prefix}.{layer}" for layer in ours), theirs, strict=True)
            index += 1


def _own_layers(block: nn.Module) -> Iterator[str]:
    """The layers of one of torchvision's blocks, two for each part."""
    for k, part in enumerate(block.block):  # type: ignore[arg-type]
        squeeze = hasattr(part, "fc1")
        yield f"{k}.fc1" if squeeze else f"{k}.0"
        yield f"{k}.fc2" if squeeze else f"{k}.1"
