"""The text tower of a run in plain torch: a search by words alone starts in half the time.

Importing transformers and torchvision, which define the towers, takes longer than the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from align_edu.io import read_json
from align_edu.model.wordpiece import encode_texts, load_wordpiece
from align_edu.presets import TextSettings, preset_from_dict


@dataclass(frozen=True)
class TextEncoder:
    """The text tower of a run: its weights by name, and its vocabulary."""

    folder: Path
    settings: TextSettings
    tokenizer: Tokenizer
    weights: dict[str, Tensor]

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts, equal to ``Run.encode_texts`` but for rounding."""
        ids, mask = encode_texts(self.tokenizer, texts, self.settings.max_length)
        tables = ("word", "position", "token_type")
        words, places, types = (
            self.weights[f"bert.embeddings.{t}_embeddings.weight"] for t in tables
        )
        x = words[ids] + types[0] + places[: ids.shape[1]]  # (B, L, H)
        x = self._norm("bert.embeddings", x)
        for number in range(self.settings.layers):
            x = self._layer(f"bert.encoder.layer.{number}", x, mask[:, None, None].bool())
        return F.normalize(self._linear("projection", x[:, 0]), dim=1)

    def _layer(self, name: str, x: Tensor, mask: Tensor) -> Tensor:
        """Return x (B, L, H) after one transformer layer."""
        q, k, v = (
            self._linear(f"{name}.attention.self.{part}", x)
            .unflatten(-1, (self.settings.heads, -1))
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )  # each (B, heads, L, H / heads)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self._norm(
            f"{name}.attention.output", x + self._linear(f"{name}.attention.output.dense", seen)
        )
        hidden = F.gelu(self._linear(f"{name}.intermediate.dense", x))  # (B, L, 4 H)
        return self._norm(f"{name}.output", x + self._linear(f"{name}.output.dense", hidden))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return F.layer_norm(x, weight.shape, weight, bias, eps=1e-12)


def load_text_encoder(folder: Path) -> TextEncoder | None:
    """Return the text tower of a run; None for any other folder, which `load_encoder` judges."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    values = read_json(config) if config.is_file() and weights.is_file() else None
    if not isinstance(values, dict) or "preset" not in values:
        return None
    try:
        with safe_open(weights, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith("text_tower.")]  # noqa: SIM118
            found = {name.removeprefix("text_tower."): file.get_tensor(name) for name in names}
    except (OSError, SafetensorError):
        return None
    settings = preset_from_dict(values["preset"]).text
    return TextEncoder(folder, settings, load_wordpiece(folder / "tokenizer.json"), found)
