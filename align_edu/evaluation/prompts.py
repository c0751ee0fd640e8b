"""Prompt templates: a class name put into sentences that a caption could be."""

from collections.abc import Sequence
from pathlib import Path

from align_edu.io import InputError

# For photographs of things; a data set may bring others in its templates.txt.
TEMPLATES = (
    "a photo of a {}",
    "a picture of a {}",
    "a close-up photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a bright photo of a {}",
    "a dark photo of a {}",
    "a blurry photo of a {}",
    "a drawing of a {}",
    "a {} outdoors",
    "a {} seen from nearby",
    "this is a {}",
)
_SOUNDS_LIKE_YOU = ("uni", "use", "eu", "one")


def read_templates(path: str | Path) -> list[str]:
    """Return the templates of a text file: one per line, each with one ``{}``; ``#`` is a comment.

    Raises InputError for a file that cannot be read, has no template, or has a line without
    exactly one ``{}``.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: not a readable text file; give one template per line") from None
    templates = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            templates.append(line)
            if line.count("{}") != 1:
                raise InputError(
                    f"{path}, line {number}: a template holds {{}} once, as in: a photo of a {{}}"
                )
    if not templates:
        raise InputError(f"{path}: no template in it; write one per line, as in: a photo of a {{}}")
    return templates


def fill_templates(templates: Sequence[str], name: str) -> list[str]:
    """Return the templates with a class name in place of ``{}``; "a" becomes "an" before vowels.

    >>> fill_templates(["a photo of a {}", "two {}"], "apple")
    ['a photo of an apple', 'two apple']
    """
    article = "an" if _needs_an(name) else "a"
    filled = []
    for template in templates:
        before, after = template.split("{}")
        words = before.split(" ")
        if len(words) > 1 and words[-2] in ("a", "an") and not words[-1]:
            words[-2] = article
        filled.append(" ".join(words) + name + after)
    return filled


def _needs_an(name: str) -> bool:
    name = name.lower()
    return name[:1] in ("a", "e", "i", "o", "u") and not name.startswith(_SOUNDS_LIKE_YOU)
