"""Which notebooks use which function of the package, read from the code of their cells."""

import ast
import functools
import importlib
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path


@functools.cache
def notebooks_that_use(folder: Path) -> dict[str, list[str]]:
    """Return "module.name" of each function and class -> the notebooks that use it, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        for name in dict.fromkeys(_uses(code)):
            found[name].append(path.stem)
    return found


def _uses(cells: list[str]) -> Iterator[str]:
    """Yield the place of definition of each name of the package that the cells use."""
    meaning: dict[str, str] = {}  # a name in the notebook -> what it stands for
    for cell in cells:
        tree = ast.parse("\n".join(line for line in cell.split("\n") if line[:1] not in "%!"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                meaning |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Import):
                for alias in node.names:  # `import a.b` binds a
                    first = alias.name.partition(".")[0]
                    meaning[alias.asname or first] = alias.name if alias.asname else first
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                first, _, rest = ast.unparse(node).partition(".")
                full = f"{meaning.get(first, '')}.{rest}".rstrip(".")
                if full.startswith("align_edu.") and (place := _defined(full)):
                    yield place


@functools.cache
def _defined(name: str) -> str | None:
    """Return "module.name" where a function or class is defined; None for anything else."""
    first, *rest = name.split(".")
    found = importlib.import_module(first)
    for i, part in enumerate(rest, 1):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join([first, *rest[:i]]))
            except ImportError:
                return None
    module, own = getattr(found, "__module__", ""), getattr(found, "__qualname__", "")
    return f"{module}.{own}" if own and str(module).startswith("align_edu") else None
