"""The exercises, one file per notebook: the right answer, cases, and realistic wrong answers."""

import pkgutil
from importlib import import_module

for file in pkgutil.iter_modules(__path__):  # in order; each file registers its exercises
    import_module(f"{__name__}.{file.name}")
