"""The towers of a run in plain torch: a search starts in less than half the time.

Importing transformers and torchvision, which define the towers, takes longer than the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from align_edu.io import read_json
from align_edu.model.image_tower import central_crops, resize_picture, stride_two
from align_edu.model.text_tower import encode_texts, load_wordpiece
from align_edu.presets import Preset, preset_from_dict

STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block in each stage of EfficientNet


@dataclass(frozen=True)
class PlainTowers:
    """The towers of a run, which encode as a `Run` does but for rounding."""

    folder: Path
    preset: Preset
    tokenizer: Tokenizer
    weights: dict[str, Tensor]

    @torch.no_grad()
    def encode_images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Return unit vectors (B, D) of pictures of any size."""
        settings, tower = self.preset.image, "image_tower"
        x = torch.stack([resize_picture(picture, settings) for picture in pictures])
        x = F.silu(self._convolve(f"{tower}.trunk.0", central_crops(x, settings), stride=2))
        for stage, stride in enumerate(STRIDES, start=1):
            number = 0
            while f"{tower}.trunk.{stage}.{number}.block.0.0.weight" in self.weights:
                name = f"{tower}.trunk.{stage}.{number}.block"
                x = self._inverted_bottleneck(name, x, 1 if number else stride)
                number += 1
        x = x.mean(dim=(2, 3))  # (B, C)
        return F.normalize(self._linear(f"{tower}.projection", x) if settings.projection else x)

    def _inverted_bottleneck(self, name: str, x: Tensor, stride: int) -> Tensor:
        """Return x (B, C, H, W) after one block of EfficientNet."""
        expands = f"{name}.3.0.weight" in self.weights
        y = F.silu(self._convolve(f"{name}.0", x)) if expands else x
        y = F.silu(self._convolve(f"{name}.{expands + 0}", y, stride))
        scale = F.adaptive_avg_pool2d(y, 1)  # squeeze and excitation
        for layer, activation in (("fc1", F.silu), ("fc2", torch.sigmoid)):
            weight, bias = self._weight_and_bias(f"{name}.{expands + 1}.{layer}")
            scale = activation(F.conv2d(scale, weight, bias))
        y = self._convolve(f"{name}.{expands + 2}", scale * y)
        return y + x if y.shape == x.shape and stride == 1 else y

    def _convolve(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        """Return x (B, C, H, W) after a convolution and BatchNorm with its running statistics."""
        kernels = self.weights[f"{name}.0.weight"]
        groups = x.shape[1] // kernels.shape[1]  # a depthwise convolution has one per channel
        if stride == 2:
            x = stride_two(x, kernels, self.preset.image.padding, groups)
        else:
            x = F.conv2d(x, kernels, None, 1, kernels.shape[-1] // 2, groups=groups)
        mean, variance = (self.weights[f"{name}.1.running_{part}"] for part in ("mean", "var"))
        return F.batch_norm(x, mean, variance, *self._weight_and_bias(f"{name}.1"), eps=1e-3)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts."""
        ids, mask = encode_texts(self.tokenizer, texts, self.preset.text.max_length)
        tower, kinds = "text_tower.bert", ("word", "position", "token_type")
        tables = (f"{tower}.embeddings.{kind}_embeddings.weight" for kind in kinds)
        words, places, types = (self.weights[table] for table in tables)
        x = words[ids] + types[0] + places[: ids.shape[1]]  # (B, L, H)
        x = self._norm(f"{tower}.embeddings", x)
        for number in range(self.preset.text.layers):
            x = self._layer(f"{tower}.encoder.layer.{number}", x, mask[:, None, None].bool())
        return F.normalize(self._linear("text_tower.projection", x[:, 0]), dim=1)

    def _layer(self, name: str, x: Tensor, mask: Tensor) -> Tensor:
        """Return x (B, L, H) after one layer of BERT."""
        q, k, v = (
            self._linear(f"{name}.attention.self.{part}", x)
            .unflatten(-1, (self.preset.text.heads, -1))
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )  # each (B, heads, L, H / heads)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = x + self._linear(f"{name}.attention.output.dense", seen)
        x = self._norm(f"{name}.attention.output", x)
        hidden = F.gelu(self._linear(f"{name}.intermediate.dense", x))  # (B, L, 4 H)
        return self._norm(f"{name}.output", x + self._linear(f"{name}.output.dense", hidden))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, *self._weight_and_bias(name))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weight_and_bias(f"{name}.LayerNorm")
        return F.layer_norm(x, weight.shape, weight, bias, eps=1e-12)

    def _weight_and_bias(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


def load_plain_towers(folder: Path) -> PlainTowers | None:
    """Return the towers of a run; None for any other folder, which `load_encoder` judges."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    values = read_json(config) if config.is_file() and weights.is_file() else None
    if not isinstance(values, dict) or "preset" not in values:
        return None
    try:
        with safe_open(weights, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    # Kernels lie in memory as those of `load_run`, for which sums round alike.
    found |= {
        name: tensor.clone(memory_format=torch.channels_last)
        for name, tensor in found.items()
        if tensor.ndim == 4
    }
    preset, tokenizer = preset_from_dict(values["preset"]), folder / "tokenizer.json"
    return PlainTowers(folder, preset, load_wordpiece(tokenizer), found)
