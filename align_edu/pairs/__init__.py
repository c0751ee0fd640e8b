"""Image-text pairs, toy or real: tables, shards, pictures, benchmarks."""

from align_edu.pairs.captions import write_shards
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.pairs.shards import PairSource, open_pairs
from align_edu.pairs.splits import Benchmark, read_split
from align_edu.pairs.table import read_pairs, write_tsv

__all__ = [
    "Benchmark",
    "BrokenImage",
    "PairSource",
    "decode_image",
    "open_pairs",
    "read_pairs",
    "read_split",
    "write_shards",
    "write_tsv",
]
