"""align_edu: teach and reproduce the ALIGN paper.

Names are imported on first use, so that importing the package is quick.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_on_first_use(
    package: str, names_of: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that imports its names on first use.

    names_of: module of the package -> its names, or its own name for the module itself.
    """
    module_of = {name: module for module, names in names_of.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(module_of)}")
        module = import_module(f"{package}.{module_of[name]}")
        return module if name == module_of[name] else getattr(module, name)

    return get, lambda: sorted(module_of)


__getattr__, __dir__ = names_on_first_use(
    __name__,
    {
        "presets": "presets",
        "world": "World",
        "pairs": "read_pairs",
        "filters": "filter_pairs",
        "model.text_tower": "TextTower train_wordpiece",
        "model.image_tower": "ImageTower",
        "model.align": "Align",
        "loss": "Temperature contrastive_loss sigmoid_loss",
        "training": "load_run train",
        "hub": "load_hf save_hf",
        "evaluation": "retrieval_recall",
        "search": "ImageIndex combine_query",
    },
)
__all__ = __dir__()
