"""The diagrams of the notebooks are those that their script draws, and nothing is cut off."""

import re
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from matplotlib.font_manager import FontProperties, findfont
from PIL import ImageFont

from align_edu.show.style import FONT

FOLDER = Path(__file__).parent.parent / "notebooks" / "images"
DIAGRAMS: dict[str, Any] = runpy.run_path(str(FOLDER / "diagrams.py"))["DIAGRAMS"]


def test_each_file_has_its_function_and_is_shown_in_a_notebook() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in FOLDER.parent.glob("*.ipynb"))
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(DIAGRAMS)
    assert set(re.findall(r"\(images/(\w+)\.svg\)", sources)) == set(DIAGRAMS)


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_file_is_what_its_function_draws_and_its_letters_are_legible_and_inside(name) -> None:
    svg = DIAGRAMS[name]().svg()
    stored = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert stored == svg, "run python notebooks/images/diagrams.py"
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    texts = [each for each in root.iter() if each.tag.endswith("}text")]
    assert texts
    for each in texts:
        size, x, y = (float(each.attrib[key]) for key in ("font-size", "x", "y"))
        assert size * 600 / width >= 11, each.text  # at 600 pixels
        weight = each.get("font-weight", "normal")
        font = ImageFont.truetype(findfont(FontProperties(family=FONT, weight=weight)), 100)
        wide = size * font.getlength(each.text or "") / 100
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[each.attrib["text-anchor"]] * wide
        assert 0 <= left and left + wide <= width and size / 2 <= y <= height, each.text
