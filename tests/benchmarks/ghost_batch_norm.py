"""Time of a training step of the toy image tower with ghost BatchNorm written in several ways.

Forward and backward at the toy preset's batch and size, channels-last, the steps of all taken
in turn. Quote the ratio to torch's own BatchNorm, which takes the whole batch.

    python tests/benchmarks/ghost_batch_norm.py [--compile] [--rounds 10]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.model.batch_norm import GhostBatchNorm2d
from align_edu.model.image_tower import ImageTower
from align_edu.presets import get_preset
from align_edu.training.loop import keep_freed_memory

GROUP = 16


def var_mean(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """One call for both statistics, one multiplication and addition a value."""
    groups = x.unflatten(0, (-1, GROUP))
    variance, mean = torch.var_mean(groups, (1, 3, 4), correction=0, keepdim=True)
    scale = norm.weight.view(1, 1, -1, 1, 1) * torch.rsqrt(variance + norm.eps)
    shift = norm.bias.view(1, 1, -1, 1, 1) - mean * scale
    return torch.addcmul(shift, groups, scale).flatten(0, 1)


def folded(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Torch's own BatchNorm, with the groups as more channels."""
    groups = x.unflatten(0, (-1, GROUP))
    count = len(groups)
    weight, bias = norm.weight.repeat(count), norm.bias.repeat(count)
    wide = groups.transpose(0, 1).flatten(1, 2)
    y = F.batch_norm(wide, None, None, weight, bias, True, 0.0, norm.eps)
    return y.unflatten(1, (count, -1)).transpose(0, 1).flatten(0, 1)


def loop(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Torch's own BatchNorm, one group after the other."""
    return torch.cat(
        [
            F.batch_norm(group, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
            for group in x.split(GROUP)
        ]
    )


def step_with(kind: type[nn.BatchNorm2d], compiled: bool) -> Callable[[], None]:
    """Forward and backward through the toy tower with BatchNorm of this kind."""
    toy = get_preset("toy")
    tower = ImageTower(toy.image).train()
    for norm in [m for m in tower.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.__class__ = kind
        norm.group = GROUP  # type: ignore[assignment]
    tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(tower) if compiled else tower
    pixels = torch.rand(toy.recipe.batch_size, 3, toy.image.crop, toy.image.crop)
    pixels = pixels.to(memory_format=torch.channels_last)

    def step() -> None:
        forward(pixels).square().sum().backward()
        tower.zero_grad()

    return step


def main() -> None:
    """Print each one's median time and its median ratio to torch's BatchNorm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    keep_freed_memory()
    kinds = {"BatchNorm2d": nn.BatchNorm2d, "GhostBatchNorm2d": GhostBatchNorm2d}
    for forward in (var_mean, folded, loop):
        if not (arguments.compile and forward is loop):  # its graph is as long as the groups
            kinds[forward.__name__] = type("Norm", (nn.BatchNorm2d,), {"forward": forward})
    steps = {name: step_with(kind, arguments.compile) for name, kind in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, taken in seconds.items():
        pairs = zip(taken, seconds["BatchNorm2d"], strict=True)
        ratio = statistics.median(own / base for own, base in pairs)
        print(f"{name:17} {1e3 * statistics.median(taken):7.0f} ms   {ratio:.2f} x BatchNorm2d")


if __name__ == "__main__":
    main()
