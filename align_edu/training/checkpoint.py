"""Checkpoints: one safetensors file each, written whole, enough to go on bit for bit."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from align_edu.io import InputError, written_whole

KEPT_CHECKPOINTS = 2  # an older one survives when the newest cannot be written


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors to a safetensors file, whole or not at all.

    Raises InputError when the disk is full; an older file of that name stays.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as beside:
        try:
            save_file(plain, beside, metadata)
        except SafetensorError as error:  # the library's own word for an operating-system error
            raise OSError(None, str(error)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises InputError when it is not a whole one."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write weights, optimiser and the loop's own numbers (``state["step"]`` names the file).

    The two newest checkpoints are kept. Raises InputError when the disk is full.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    numbers: dict[str, float] = {}
    packed = optimizer.state_dict()
    parts = [(f"state.{i}", entries) for i, entries in packed["state"].items()]
    # timm's LAMB keeps its step count in the group; torch's learning rate is set each step.
    parts += [(f"group.{i}", {"step": g["step"]}) for i, g in _groups_with_step(packed)]
    for prefix, entries in parts:
        for name, value in entries.items():
            key = f"optimizer.{prefix}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
            else:
                numbers[key] = value
    path = folder / f"{state['step']:08d}.safetensors"
    metadata = {"state": json.dumps(state), "numbers": json.dumps(numbers)}
    save_tensors(path, tensors, metadata)
    for old in sorted(folder.glob("*.safetensors"))[:-KEPT_CHECKPOINTS]:
        old.unlink()
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the highest step, or None."""
    return max(folder.glob("*.safetensors"), default=None)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint's weights and optimiser back and return the loop's numbers.

    Raises InputError when the file is damaged or belongs to another preset.
    """
    tensors = load_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    load_weights(path, model, _with_prefix(tensors, "model."))
    packed = optimizer.state_dict()
    values: dict[str, Any] = dict(_with_prefix(tensors, "optimizer."))
    values.update(_with_prefix(json.loads(metadata.get("numbers", "{}")), "optimizer."))
    packed["state"] = {}
    for key, value in values.items():
        kind, index, name = key.split(".", 2)
        if kind == "state":
            packed["state"].setdefault(int(index), {})[name] = value
        else:
            packed["param_groups"][int(index)][name] = value
    optimizer.load_state_dict(packed)
    for p, entries in optimizer.state.items():
        for name, value in entries.items():
            if not isinstance(value, Tensor) or value.shape != p.shape:
                continue  # a count
            if value.stride() != p.stride():
                # In the weight's own memory order: sums over it then round as they did before.
                entries[name] = torch.empty_like(p, dtype=value.dtype).copy_(value)
    return json.loads(metadata["state"])


def load_weights(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy ``tensors`` into ``model``; InputError when names or shapes are another model's."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise InputError(
            f"{path}: weights of another preset or size ({first[0].strip()[:160]});"
            " use the preset and the vocabulary that they were trained with"
        ) from error


def _groups_with_step(packed: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return [(i, group) for i, group in enumerate(packed["param_groups"]) if "step" in group]


def _with_prefix(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
