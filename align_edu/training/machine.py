"""What this machine can do for training: its compiler, its memory."""

import copy
import ctypes
import platform
import shutil
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from align_edu.presets import Preset

Tower = Callable[[Tensor], Tensor]

# glibc's names for mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the process keep memory that tensors have freed, instead of giving it back each step.

    On Linux the C library returns large blocks to the system at once, and getting them back
    costs a page fault every 4 kB: about a fifth of a toy training step. Returns whether it
    was set; elsewhere nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 * 2**20))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


def compiled_or_same(
    tower: nn.Module, preset: Preset, device: torch.device, pairs: int | None = None
) -> Tower:
    """Return the tower compiled for this machine, or as it is where that does not work.

    pairs: how many pictures it will get at a time; the whole batch unless told otherwise.

    Compiling needs a C++ compiler and Python's headers. Without them training is slower,
    not different.
    """
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return tower
    before = copy.deepcopy(tower.state_dict())
    shape = (pairs or preset.recipe.batch_size, 3, preset.image.crop, preset.image.crop)
    sample = torch.zeros(shape, device=device).to(memory_format=torch.channels_last)
    compiled: Tower = torch.compile(tower)
    try:
        compiled(sample).sum().backward()
    except Exception as error:  # the compiler's failures have no common type
        told = f"note: the image tower is not compiled ({type(error).__name__}); see doctor"
        tqdm.write(told, file=sys.stderr)
        compiled = tower
    tower.load_state_dict(before)  # the trial must leave no trace in the statistics
    tower.zero_grad(set_to_none=True)
    return compiled
