"""Checkpoints: one safetensors file each, complete enough to continue bit for bit."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from align_edu.io import InputError, written_whole

KEPT_CHECKPOINTS = 2  # the older one survives when the newest cannot be written


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors to a safetensors file, whole or not at all (InputError: the disk is full)."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as beside:
        try:
            save_file(plain, beside, metadata)
        except SafetensorError as error:  # how the library reports an operating-system error
            raise OSError(None, str(error)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises InputError for a damaged file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write weights, optimiser and the loop's state, whose "step" names the file.

    The two newest checkpoints are kept. Raises InputError when the disk is full.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    numbers: dict[str, float] = {}
    packed = optimizer.state_dict()
    parts = {f"state.{i}": entries for i, entries in packed["state"].items()}
    # timm's LAMB and our Muon count their steps in the group; the loop sets the learning rate.
    for i, group in enumerate(packed["param_groups"]):
        parts[f"group.{i}"] = {"step": group["step"]} if "step" in group else {}
    for prefix, entries in parts.items():
        for name, value in entries.items():
            target = tensors if isinstance(value, Tensor) else numbers
            target[f"optimizer.{prefix}.{name}"] = value
    path = folder / f"{state['step']:08d}.safetensors"
    save_tensors(path, tensors, {"state": json.dumps(state), "numbers": json.dumps(numbers)})
    for old in sorted(folder.glob("*.safetensors"))[:-KEPT_CHECKPOINTS]:
        old.unlink()
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the highest step, or None."""
    return max(folder.glob("*.safetensors"), default=None)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore a checkpoint's weights and optimiser and return the loop's state.

    Raises InputError when the file is damaged or belongs to another preset.
    """
    tensors = load_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    load_weights(path, model, weights)
    packed = optimizer.state_dict()
    packed["state"] = {}
    for key, value in {**tensors, **json.loads(metadata.get("numbers", "{}"))}.items():
        if not key.startswith("optimizer."):
            continue
        _, kind, index, name = key.split(".", 3)
        if kind == "state":
            packed["state"].setdefault(int(index), {})[name] = value
        else:
            packed["param_groups"][int(index)][name] = value
    optimizer.load_state_dict(packed)
    for p, entries in optimizer.state.items():
        for name, value in entries.items():
            if (
                isinstance(value, Tensor)
                and value.shape == p.shape
                and value.stride() != p.stride()
            ):
                # In the weight's memory order, so that sums over it round as they did before.
                entries[name] = torch.empty_like(p, dtype=value.dtype).copy_(value)
    return json.loads(metadata["state"])


def load_weights(path: Path, model: nn.Module, tensors: dict[str, Tensor] | None = None) -> None:
    """Copy the tensors of ``path``, or ``tensors``, into ``model``.

    Raises InputError when names or shapes differ from the model's.
    """
    tensors = load_tensors(path) if tensors is None else tensors
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise InputError(
            f"{path}: weights of another preset or size ({first[0].strip()[:160]});"
            " use the preset and the vocabulary that they were trained with"
        ) from error
