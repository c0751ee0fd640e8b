"""The exercises of each notebook: right answers in `nNN.py`, mistakes and hints in `nNN.toml`."""

import pkgutil
from importlib import import_module

for file in pkgutil.iter_modules(__path__):  # in order; each file registers its exercises
    import_module(f"{__name__}.{file.name}")
