"""The chips that a run can be planned for: rates and memory, each with its source."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from align_edu.io import InputError

GB, GIB, TERA = 1e9, 2**30, 1e12


@dataclass(frozen=True)
class Chip:
    """One device: its peak rates, and the share of them that a run is assumed to reach.

    >>> get_chip("a100").matrix / 1e12
    312.0
    """

    name: str
    matrix: float  # FLOP/s of matrix products in the training precision
    vector: float  # FLOP/s of other arithmetic, such as depthwise convolutions
    single: float  # FLOP/s of matrix products in float32, which the loss needs
    memory: float  # bytes
    bandwidth: float  # bytes/s between the device and its memory
    link: float  # bytes/s out of one device to its neighbours, all links together
    neighbours: int  # devices joined by these links
    network: float  # bytes/s out of one device to those further away
    utilisation: float | None  # assumed share of ``matrix`` in the towers; None: roofline only
    activation_bytes: int = 2  # of one number of an activation
    fused: bool = False  # a compiler joins elementwise work to the operation before it
    muon: float | None = None  # FLOP/s of Muon's small products, if they were measured
    overhead: float = 0.0  # seconds to start one operation
    # Measured share of the roofline by kind or name of operation; 1 for those not listed.
    efficiency: Mapping[str, float] = field(default_factory=dict)
    note: str = ""  # a warning about these rates


# TPUs: cloud.google.com/tpu/docs/v3, /v4, /v5e: peak, memory, bandwidth, and the all-reduce
# bandwidth of a pod divided by its chips (340 TB/s by 1,024; 1.1 PB/s by 4,096; 51.2 TB/s by
# 256). A v3 core is half a chip. Vector units: v3 by Jouppi et al. (2020), 4 TFLOP/s a chip;
# v4 and v5e by 8 × 128 lanes × 2 or 4 units × 2 cores or 1 × the clock (1.05, 1.5 GHz).
# A float32 product takes six bfloat16 ones. 35 % is an assumption: ALIGN's share was never
# published.
_TPU_SHARE = 0.35

# GPUs (SXM): NVIDIA's data sheets of V100, A100 80 GB and H100, dense tensor cores in 16 bits,
# float32 outside of them, half of NVLink's two-way bandwidth; beyond 8 of them InfiniBand, as in
# DGX-1 (4 × 100 Gbit/s for 8), DGX A100 (8 × 200) and DGX H100 (8 × 400).
# A100: 120 TFLOP/s is an assumption; open_clip's published runs reach about 40. V100: 225
# pairs/s of CLIP-B/16 (about 0.12 TFLOP a pair) in an 8-GPU log. H100: the A100's share.
CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip(
            "tpu-v3-core", 61.5 * TERA, 2 * TERA, 61.5 / 6 * TERA, 16 * GIB, 450 * GB,
            340e12 / 1024 / 2, 2048, 25 * GB / 8, _TPU_SHARE, fused=True,
        ),
        Chip(
            "tpu-v4", 275 * TERA, 4.3 * TERA, 275 / 6 * TERA, 32 * GIB, 1200 * GB,
            1.1e15 / 4096, 4096, 25 * GB / 8, _TPU_SHARE, fused=True,
        ),
        Chip(
            "tpu-v5e", 197 * TERA, 6.1 * TERA, 197 / 6 * TERA, 16 * GB, 819 * GB,
            51.2e12 / 256, 256, 6.4e12 / 8 / 256, _TPU_SHARE, fused=True,
        ),
        Chip(
            "v100", 125 * TERA, 15.7 * TERA, 15.7 * TERA, 32 * GIB, 900 * GB,
            150 * GB, 8, 6.25 * GB, 0.22,
        ),
        Chip(
            "a100", 312 * TERA, 19.5 * TERA, 19.5 * TERA, 80 * GIB, 2039 * GB,
            300 * GB, 8, 25 * GB, 120 / 312,
        ),
        Chip(
            "h100", 989 * TERA, 67 * TERA, 67 * TERA, 80 * GIB, 3350 * GB,
            450 * GB, 8, 50 * GB, 120 / 312,
        ),
    )
}  # fmt: skip


def get_chip(name: str) -> Chip:
    """Return the chip called ``name``.

    "here", this machine's processor, is not in the table: ``measure_here`` measures it.
    Raises InputError for an unknown name.

    >>> get_chip("tpu-v3-core").memory / 2**30
    16.0
    """
    if name not in CHIPS:
        raise InputError(f"chip {name!r} does not exist; choose one of {', '.join(CHIPS)}, here")
    return CHIPS[name]
