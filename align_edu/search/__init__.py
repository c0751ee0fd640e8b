"""Search for images by words, by an image, and by adding and subtracting both."""

from align_edu.search.arithmetic import combine_query
from align_edu.search.index import Hit, ImageIndex
from align_edu.search.query import search

__all__ = ["Hit", "ImageIndex", "combine_query", "search"]
