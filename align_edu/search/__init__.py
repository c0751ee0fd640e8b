"""Search for images by words, by an image, and by adding and subtracting both."""

from align_edu.search.index import Hit, ImageIndex
from align_edu.search.query import combine_query, search

__all__ = ["Hit", "ImageIndex", "combine_query", "search"]
