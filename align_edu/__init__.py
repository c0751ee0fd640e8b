"""align_edu: teach and reproduce the ALIGN paper.

Names are imported on first use, so that importing the package is quick.
"""

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "World": "world",
    "read_pairs": "pairs",
    "filter_pairs": "filters",
    "train_wordpiece": "model.wordpiece",
    "TextTower": "model.text_tower",
    "ImageTower": "model.image_tower",
    "Align": "model.align",
    "Temperature": "loss",
    "contrastive_loss": "loss",
    "sigmoid_loss": "loss",
    "train": "training",
    "load_run": "training",
    "load_hf": "hub.align_model",
    "save_hf": "hub.align_model",
    "retrieval_recall": "evaluation",
    "ImageIndex": "search",
    "combine_query": "search",
}
__all__ = ["presets", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name == "presets":
        return import_module("align_edu.presets")
    if name not in _MODULE_OF:
        raise AttributeError(f"align_edu has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"align_edu.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
