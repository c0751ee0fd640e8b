"""A run's folder: settings, vocabulary, checkpoints and weights, and the model that they make."""

import json
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn

from align_edu.io import InputError, lfs_remedy, read_json, write_json, written_whole
from align_edu.model.align import Align
from align_edu.model.image_tower import central_crops, resize_picture
from align_edu.model.text_tower import encode_texts, load_wordpiece, save_wordpiece, train_wordpiece
from align_edu.presets import Preset, preset_from_dict
from align_edu.training.processes import is_small, one_thread

KEPT_CHECKPOINTS = 2  # the older one survives when the newest cannot be written
_BATCH = 256  # pictures or texts encoded at a time
_PIXELS = _BATCH * 48 * 48  # of a batch of pictures on a processor


@dataclass(frozen=True)
class Run:
    """A trained model with its vocabulary and its preset, ready to encode."""

    folder: Path
    preset: Preset
    tokenizer: Tokenizer | None  # None: the folder of an AlignModel holds none
    model: Align
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> pairs not trained on

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def encode_images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Return unit vectors (B, D) of pictures of any size. Paper: Section 5 (central crop)."""
        settings = self.preset.image

        def encode(part: Sequence[Image.Image]) -> Tensor:
            pixels = torch.stack([resize_picture(picture, settings) for picture in part])
            return self.model.encode_image(central_crops(pixels, settings).to(self.device))

        few = max(1, min(_BATCH, _PIXELS // settings.crop**2))
        return self._encode(pictures, encode, few if self.device.type == "cpu" else _BATCH)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts. Paper: Section 5 (at most 64 word pieces)."""
        if (tokenizer := self.tokenizer) is None:
            raise InputError(f"{self.folder}: no tokenizer.json and no vocab.txt; texts need one")

        def encode(part: Sequence[str]) -> Tensor:
            ids, mask = encode_texts(tokenizer, part, self.preset.text.max_length)
            return self.model.encode_text(ids.to(self.device), mask.to(self.device))

        return self._encode(texts, encode, _BATCH)

    @torch.no_grad()
    def _encode(self, items: Sequence[Any], encode: Callable[..., Tensor], batch: int) -> Tensor:
        self.model.eval()
        with one_thread(self.device.type == "cpu" and is_small(self.model)):
            starts = range(0, len(items), batch)
            parts = [encode(items[i : i + batch]).float().cpu() for i in starts]
        return torch.cat(parts) if parts else torch.empty(0, self.model.image_tower.width)


def load_preset(folder: str | Path) -> Preset:
    """Return the preset of the run in a folder. Raises InputError when the folder has none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that `train` wrote")
    return preset_from_dict(read_json(folder / "config.json").get("preset", {}))


def load_run(folder: str | Path, device: str = "cpu") -> Run:
    """Return the trained model in a run's folder; InputError if a file is missing or unfit."""
    folder, preset = Path(folder), load_preset(folder)
    tokenizer = load_wordpiece(folder / "tokenizer.json")
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise InputError(f"{weights}: no such file; the run is not finished, resume it first")
    model = Align(preset, tokenizer.get_vocab_size())
    # As in training: in another memory order sums round differently, and near ties swap.
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    load_weights(weights, model)
    return Run(folder, preset, tokenizer, model.eval().to(device))


def check_folder(out: Path, settings: dict[str, Any], resume: bool) -> None:
    """Refuse to overwrite another run, and to resume with other settings or other data."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the run")
    if not holds_a_run(out):
        return
    if not resume:
        raise InputError(f"{out}: already holds a run; add --resume or choose another folder")
    stored = read_json(out / "config.json")
    for name, value in settings.items():
        if stored.get(name) != value:
            raise _other_setting(out, name.removesuffix("_sha256"))


def holds_a_run(out: Path) -> bool:
    """Return True if ``out`` has weights to lose; a run that stopped before has none."""
    weights = (out / "model.safetensors").exists() or newest_checkpoint(out / "checkpoints")
    return (out / "config.json").exists() and bool(weights)


def choose_vocabulary(
    out: Path, given: Tokenizer | None, captions: Sequence[str], preset: Preset
) -> Tokenizer:
    """Return the vocabulary of the run in ``out``; else the given one, or one of the captions."""
    if not holds_a_run(out):
        return given or train_wordpiece(captions, preset.text.vocabulary_size, at_most=True)
    stored = load_wordpiece(out / "tokenizer.json")
    if given is not None and given.to_str() != stored.to_str():
        raise _other_setting(out, "vocabulary")
    return stored


def begin_folder(out: Path, tokenizer: Tokenizer, record: dict[str, Any]) -> None:
    """Write the vocabulary and the settings of a run."""
    save_wordpiece(tokenizer, out / "tokenizer.json")
    write_json(out / "config.json", record)


def _other_setting(out: Path, name: str) -> InputError:
    return InputError(
        f"{out}: the run was started with another setting ({name} differs); resume it with the"
        " same preset, data, vocabulary, length and seed"
    )


def software_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ("align-edu", "numpy", "torch", "torchvision", "transformers")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors to a safetensors file, whole or not at all (InputError: the disk is full)."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as beside:
        beside.write_bytes(save(plain, metadata))  # save_file makes a file that others cannot read


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises InputError for a damaged file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        remedy = lfs_remedy(path) or f"not a whole safetensors file ({error})"
        raise InputError(f"{path}: {remedy}") from error


def load_weights(path: Path, model: nn.Module, tensors: dict[str, Tensor] | None = None) -> None:
    """Copy the tensors of ``path``, or ``tensors``, into ``model``; InputError if they differ."""
    try:
        model.load_state_dict(load_tensors(path) if tensors is None else tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        wrong = f"{path}: weights of another preset or size ({first[0].strip()[:160]})"
        remedy = "use the preset and the vocabulary that they were trained with"
        raise InputError(f"{wrong}; {remedy}") from error


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write weights, optimiser and the loop's state, named by its "step"; keep the newest two."""
    packed = optimizer.state_dict()
    values = {f"state.{i}.{k}": v for i, own in packed["state"].items() for k, v in own.items()}
    # timm's LAMB and our Muon count their steps in the group; the loop sets the learning rate.
    groups = enumerate(packed["param_groups"])
    values |= {f"group.{i}.step": group["step"] for i, group in groups if "step" in group}
    tensors = {f"optimizer.{key}": v for key, v in values.items() if isinstance(v, Tensor)}
    tensors |= {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    numbers = {f"optimizer.{key}": v for key, v in values.items() if not isinstance(v, Tensor)}
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
    """Restore weights and optimiser, return the loop's state; InputError for an unfit file."""
    values: dict[str, Any] = load_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    weights = {k.removeprefix("model."): v for k, v in values.items() if k.startswith("model.")}
    load_weights(path, model, weights)
    packed = optimizer.state_dict() | {"state": {}}
    for key, value in (values | json.loads(metadata.get("numbers", "{}"))).items():
        match key.split(".", 3):
            case "optimizer", "state", index, name:
                packed["state"].setdefault(int(index), {})[name] = value
            case "optimizer", "group", index, name:
                packed["param_groups"][int(index)][name] = value
    optimizer.load_state_dict(packed)
    for p, entries in optimizer.state.items():
        for name, value in entries.items():
            like = isinstance(value, Tensor) and value.shape == p.shape
            if like and value.stride() != p.stride():
                # In the weight's memory order, so that sums over it round as they did before.
                entries[name] = torch.empty_like(p, dtype=value.dtype).copy_(value)
    return json.loads(metadata["state"])
