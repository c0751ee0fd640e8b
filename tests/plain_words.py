"""The words of an alt-text as the filters count them, letter by letter in plain Python."""

import unicodedata


def words_of(caption: str | None) -> list[str]:
    """NFKC, lower case; runs of letters, digits and marks that no mark begins."""
    words, word = [], ""
    for char in unicodedata.normalize("NFKC", caption or "").lower() + " ":
        kind = unicodedata.category(char)[0]
        if kind in "LN" or (kind == "M" and word):
            word += char
        elif kind != "M" and word:
            words.append(word)
            word = ""
    return words
