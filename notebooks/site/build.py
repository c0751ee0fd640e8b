"""Build the site: `python notebooks/site/build.py OUT`. Nothing is run and nothing is fetched."""

import importlib
import json
import logging
import pkgutil
import shutil
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import main as sphinx

import align_edu
from align_edu.evaluation.embed import load_encoder
from align_edu.show import export_page

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parent
DATA = NOTEBOOKS.parent / "data_samples"
# Parts in the order in which data flows; without the answers to the exercises.
PARTS = "presets io world pairs filters model loss training planning evaluation search hub claims"
PARTS += " show lab"
HIDDEN = ("align_edu.lab.answers", "align_edu.lab.jailed", "align_edu.lab.__main__")


def gather(folder: Path) -> None:
    """Fill a folder with the pages of the site: notebooks, texts, pictures, the package's parts."""
    books = sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in [*books, *NOTEBOOKS.glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        text = text.replace("](../data_samples/README.md)", "](data_samples.md)")
        (folder / path.name).write_text(text, encoding="utf-8")
    index = (HERE / "index.md").read_text(encoding="utf-8")
    index = index.replace("NOTEBOOKS", "\n".join(map(_entry, books)))
    (folder / "index.md").write_text(index, encoding="utf-8")
    about = (DATA / "README.md").read_text(encoding="utf-8").replace("](../notebooks/", "](")
    (folder / "data_samples.md").write_text(about, encoding="utf-8")
    shutil.copytree(NOTEBOOKS / "images", folder / "images", ignore=shutil.ignore_patterns("*.py"))
    top = [f"- {{py:obj}}`~{_place(name)}`" for name in align_edu.__all__ if name != "presets"]
    text = "# The package\n\nWhat `import align_edu` offers; the parts follow in the order in which"
    (folder / "api.md").write_text(f"{text} data flows.\n\n" + "\n".join(top), encoding="utf-8")
    for number, part in enumerate(PARTS.split()):
        page = folder / f"api_{number:02}_{part}.rst"
        page.write_text(_part_page(f"align_edu.{part}"), encoding="utf-8")


def _entry(book: Path) -> str:
    """Return a notebook's line in the list of pages: its number, its title, and its file."""
    title = "".join(json.loads(book.read_text(encoding="utf-8"))["cells"][0]["source"])
    return f"{book.stem[:2]} {title.splitlines()[0].lstrip('# ')} <{book.stem}>"


def _place(name: str) -> str:
    found = getattr(align_edu, name)
    return f"{found.__module__}.{found.__qualname__}"


def _part_page(part: str) -> str:
    """Return a page of autodoc's directives for the modules of a part."""
    package = importlib.import_module(part)
    inside = pkgutil.walk_packages(getattr(package, "__path__", []), f"{part}.")
    names = [name for _, name, _ in inside if not name.startswith(HIDDEN)]
    lines = [part, "=" * len(part)]
    for name in [part, *names]:
        if name != part:
            lines += ["", name, "-" * len(name)]
        lines += ["", f".. automodule:: {name}", "   :members:", "   :ignore-module-all:"]
        lines.append("   :exclude-members: set")  # which matplotlib makes for its artists
    return "\n".join(lines) + "\n"


def build(out: Path) -> int:
    """Replace a folder by the site, whole or not at all; return 0 if Sphinx warned of nothing."""
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it would tell how it was loaded
    with tempfile.TemporaryDirectory() as folder:
        source, site = Path(folder, "source"), Path(folder, "site")
        source.mkdir()
        gather(source)
        options = ["-W", "--keep-going", "-q", "-c", str(HERE), "-d", f"{folder}/doctrees"]
        status = sphinx([*options, str(source), str(site)])
        export_page(load_encoder(DATA / "toy_model", "cpu"), DATA / "benchmark", site / "try")
        if status == 0:
            shutil.rmtree(out, ignore_errors=True)
            shutil.move(site, out)
    return status


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
