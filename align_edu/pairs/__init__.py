"""Image-text pairs, toy or real: tables, shards, pictures, benchmarks."""

from align_edu.pairs.images import decode_image
from align_edu.pairs.shards import open_pairs, write_shards
from align_edu.pairs.splits import read_split
from align_edu.pairs.table import read_pairs, write_tsv

__all__ = ["decode_image", "open_pairs", "read_pairs", "read_split", "write_shards", "write_tsv"]
