"""Ten training steps on virtual XLA devices of the processor, and the same steps without XLA.

XLA's devices belong to a process, so each number of devices has a separate child.

    python tests/xla_steps.py FOLDER DEVICES...
"""

import json
import os
import sys
import traceback
from pathlib import Path

import timm.optim.lamb  # noqa: F401  imported before the fork, as the next ones
import torch
import torch_xla.distributed.spmd
import torch_xla.utils.checkpoint  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401
from safetensors.torch import save_file
from torch import Tensor, nn

from align_edu.io import InputError
from align_edu.loss import contrastive_loss
from align_edu.loss.tiled import recomputed
from align_edu.model.align import Align
from align_edu.model.image_tower import GhostBatchNorm2d, _statistics_kept
from align_edu.presets import Preset, get_preset, replace_fields
from align_edu.training.processes import Machine
from align_edu.training.recipe import build_optimizer, learning_rate_factor
from align_edu.training.run import load_checkpoint, save_checkpoint
from align_edu.training.xla import XlaMesh, open_mesh

STEPS, HALF, BATCH, GROUP = 10, 5, 32, 4


def preset() -> Preset:
    """The paper's recipe, as small as it can be."""
    changes = {
        "image.width": "0.1", "image.depth": "0.1", "image.crop": "32", "image.padding": "same",
        "image.ghost_batch": str(GROUP), "text.width": "32", "text.heads": "2",
        "text.max_length": "8", "text.positions": "8", "loss.label_smoothing": "0.1",
        "loss.temperature": "1", "loss.log_temperature": "false", "recipe.optimizer": "lamb",
        "recipe.learning_rate": "0.01", "recipe.weight_decay": "1e-5",
        # The bias corrections of such betas reach 1 within ten steps, the paper's in 17,000.
        "recipe.beta1": "0.02", "recipe.beta2": "0.1",
    }  # fmt: skip
    return replace_fields(get_preset("toy"), changes)


class Steps:
    """A model in training, on the devices of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.preset, self.step = machine, preset(), 0
        self.model = Align(self.preset, 50).double().train().to(machine.device)
        self.optimizer = build_optimizer(self.model, self.preset.recipe)
        machine.replicate(self.model, self.optimizer)

    def take(self, steps: int) -> list[float]:
        """Take steps and return their losses; the learning rate is 0 in the tenth."""
        return [self._take_one() for _ in range(steps)]

    def _take_one(self) -> float:
        generator = torch.Generator().manual_seed(self.step)
        pixels = torch.rand(BATCH, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
        ids = torch.randint(5, 50, (BATCH, 8), generator=generator)
        mask = (torch.arange(8) < torch.randint(3, 9, (BATCH, 1), generator=generator)).long()
        rows = self.machine.rows(BATCH)
        batch = [self.machine.place(t[rows.start : rows.stop]) for t in (pixels, ids * mask, mask)]
        self.step += 1
        recipe = self.preset.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(self.step / STEPS, 0.2)
        loss = contrastive_loss(*self.model(*batch), self.model.temperature())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.machine.finish_step()
        return loss.item()

    def weights(self) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in self.model.state_dict().items()}


def draws(mesh: XlaMesh, seed: int) -> list[float]:
    with mesh.seeded(seed):
        dropped = nn.Dropout(0.5)(mesh.place(torch.ones(BATCH, 1)))
    return dropped.cpu().flatten().tolist()


def block_computed_again(mesh: XlaMesh, again: bool) -> list[Tensor]:
    """Output, gradients and statistics of a block with dropout, kept or computed twice."""
    torch.manual_seed(0)
    norm = GhostBatchNorm2d(3, group=GROUP)
    block = nn.Sequential(nn.Conv2d(3, 3, 3), norm, nn.Dropout(0.5)).to(mesh.device).train()
    pixels = mesh.place(torch.randn(BATCH, 3, 6, 6)).requires_grad_()
    with mesh.seeded(1):
        if again:
            out = recomputed(block, pixels, again=lambda: _statistics_kept(block))
        else:
            out = block(pixels)
    with mesh.seeded(2):  # the second computation must not use this seed
        out.square().sum().backward()
    mesh.finish_step()
    tensors = [out, pixels.grad, *(p.grad for p in block.parameters()), *norm.buffers()]
    return [t.detach().cpu().double() for t in tensors if t is not None]


def on_devices(count: int, folder: Path) -> None:
    """Take the steps on ``count`` devices and write all results that the tests compare."""
    mesh = open_mesh()
    steps = Steps(mesh)
    losses = steps.take(HALF)
    checkpoints = folder / f"checkpoints_{count}"
    checkpoints.mkdir()
    saved = save_checkpoint(checkpoints, steps.model, steps.optimizer, {"step": HALF})
    losses += steps.take(STEPS - HALF)
    found = {"devices": mesh.devices, "losses": losses}
    save_file(steps.weights(), folder / f"weights_{count}.safetensors")
    if count == 4:
        resumed = Steps(mesh)
        resumed.step = load_checkpoint(saved, resumed.model, resumed.optimizer)["step"]
        mesh.replicate(resumed.model, resumed.optimizer)
        found["graphs_after_loading"] = mesh.compiled_graphs()
        found["resumed"] = resumed.take(STEPS - HALF)
        found["graphs_after_resuming"] = mesh.compiled_graphs()
        save_file(resumed.weights(), folder / "weights_resumed.safetensors")
    once, twice = (block_computed_again(mesh, again) for again in (False, True))
    gaps = [(a - b).abs().max().item() for a, b in zip(once, twice, strict=True)]
    found["computed_again"] = max(gaps)
    found["draws"] = [draws(mesh, seed) for seed in (1, 1, 2)]
    (folder / f"{count}.json").write_text(json.dumps(found))


def on_none(folder: Path) -> None:
    try:
        open_mesh()
    except InputError as error:
        (folder / "refused.txt").write_text(str(error))


def main(folder: Path, counts: list[int]) -> int:
    children = []
    for count in (0, *counts):
        child = os.fork()
        if child == 0:
            device = "CPU" if count else "NONE"
            os.environ |= {"PJRT_DEVICE": device, "CPU_NUM_DEVICES": str(count)}
            try:
                on_devices(count, folder) if count else on_none(folder)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    steps = Steps(Machine(torch.device("cpu")))
    losses = steps.take(STEPS)
    save_file(steps.weights(), folder / "weights_plain.safetensors")
    (folder / "plain.json").write_text(json.dumps({"losses": losses}))
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(Path(sys.argv[1]), [int(count) for count in sys.argv[2:]]))
