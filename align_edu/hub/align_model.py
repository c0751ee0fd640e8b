"""The released ALIGN weights: Hugging Face's AlignModel in and out, number for number."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from align_edu.hub.configuration import (
    MAX_LENGTH,
    hf_from_preset,
    pixels_from_preset,
    preset_from_hf,
    read_config,
)
from align_edu.hub.trunk_weights import trunk_names
from align_edu.io import InputError, cannot_write, read_json
from align_edu.model.align import Align
from align_edu.model.wordpiece import SPECIAL_TOKENS, tokenizer_from_pieces
from align_edu.training.checkpoint import load_tensors, save_tensors
from align_edu.training.run import Run

RELEASED = "kakaobrain/align-base"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"  # of weights in several files
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Older files hold these, which are counted up, not learned.
_COUNTED = ("text_model.embeddings.position_ids", "text_model.embeddings.token_type_ids")


def load_hf(path_or_name: str | Path, device: str = "cpu") -> Run:
    """Return the ALIGN model in a folder of transformers' AlignModel, ready to encode.

    path_or_name: a folder that ``AlignModel.save_pretrained`` or :func:`save_hf` wrote, or a
    name on the Hugging Face hub whose files are in this machine's cache. Nothing is downloaded
    and nothing is unpickled. The embeddings equal AlignModel's; the run's preset has its sizes,
    its padding (``"tf_static"``) and its preprocessing.
    Raises InputError when files are missing, damaged, pickled, or another model's.

    Paper: Sections 4.1 and 5; the weights are COYO-ALIGN's, trained by others.

    >>> load_hf("nobody/nothing")
    Traceback (most recent call last):
    align_edu.io.InputError: nobody/nothing: not in this machine's cache; ...
    """
    folder = _folder_of(path_or_name)
    where = folder / "config.json"
    config = read_config(read_json(where), where)
    preset = preset_from_hf(config, _pixels(folder), where)
    preset = dataclasses.replace(preset, name=Path(path_or_name).name)
    tokenizer = _tokenizer(folder, preset.text.vocabulary_size)
    weights = _weights(folder)
    model = Align(preset, preset.text.vocabulary_size)
    _check_shortcuts(model, str(where))
    if config.projection_dim != model.image_tower.width:
        raise InputError(
            f"{where}: projection_dim is {config.projection_dim}, the image tower's width"
            f" {model.image_tower.width}; AlignModel needs them equal"
        )
    _fill(model, weights, folder)
    return Run(folder, preset, tokenizer, model.eval().to(device))


def save_hf(run_or_model: Run | Align, folder: str | Path) -> Path:
    """Write a model of ours as a folder that transformers' AlignModel reads; return the folder.

    A run brings its tokenizer, so that ``AlignProcessor.from_pretrained`` reads the folder too.
    The weights are float32. AlignModel has a pooler after BERT that it never uses: a model that
    :func:`load_hf` gave writes the one it came with, another model writes zeros.
    Raises InputError when the folder holds something, or the model is none that AlignModel can
    compute (another padding than ``"tf_static"``, a linear layer after the image tower).

    Paper: Section 4.1.
    """
    model = run_or_model.model if isinstance(run_or_model, Run) else run_or_model
    folder = Path(folder)
    vocabulary_size = model.text_tower.bert.config.vocab_size
    config = hf_from_preset(model.preset, vocabulary_size, model.image_tower.width)
    _check_shortcuts(model, "this model")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: already there and not empty; choose a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
        _save_processor(run_or_model, model, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    own = model.state_dict()
    tensors = {theirs: own[ours] for ours, theirs in _names(model).items()}
    tensors["temperature"] = model.temperature().detach()
    width = model.text_tower.bert.config.hidden_size
    tensors.setdefault("text_model.pooler.dense.weight", torch.zeros(width, width))
    tensors.setdefault("text_model.pooler.dense.bias", torch.zeros(width))
    save_tensors(folder / _WEIGHTS, tensors, {"format": "pt"})
    return folder


def _folder_of(path_or_name: str | Path) -> Path:
    """The folder itself, or the hub's snapshot in this machine's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    folder, name = Path(path_or_name), str(path_or_name)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or folder.exists():
        raise InputError(f"{name}: no such folder; give an AlignModel's folder, or {RELEASED!r}")
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
        size = "690 MB" if name == RELEASED else f"{RELEASED} has 690 MB"
        raise InputError(
            f"{name}: not in this machine's cache; fetch it once, where there is a network"
            f" ({size}), by `hf download {name} --include '*.json' --include '*.txt'"
            " --include '*.safetensors'`"
        ) from None


def _weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder, from one safetensors file or several."""
    if (folder / _WEIGHTS).exists():
        return load_tensors(folder / _WEIGHTS)
    if (folder / _INDEX).exists():
        index = read_json(folder / _INDEX)
        files = sorted(set(index["weight_map"].values())) if "weight_map" in index else []
        if not files or any(Path(file).name != file for file in files):
            raise InputError(f"{folder / _INDEX}: not an index of weights; fetch the folder again")
        return {
            name: tensor for file in files for name, tensor in load_tensors(folder / file).items()
        }
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        raise InputError(
            f"{folder}: only pickled weights ({pickled[0]}), which can run code when they are"
            f" read; get {_WEIGHTS}, or write it by AlignModel.save_pretrained where you trust them"
        )
    raise InputError(
        f"{folder}: no {_WEIGHTS}; give a folder that AlignModel.save_pretrained wrote"
    )


def _names(model: Align) -> dict[str, str]:
    """AlignModel's name of each of our tensors; σ apart, which we may keep as its logarithm."""
    trunk = trunk_names(model.image_tower, "transformers")
    names = {
        f"image_tower.trunk.{ours}": f"vision_model.{theirs}" for ours, theirs in trunk.items()
    }
    for name in model.text_tower.state_dict():
        part, _, rest = name.partition(".")
        theirs = "text_model" if part == "bert" else "text_projection"
        names[f"text_tower.{name}"] = f"{theirs}.{rest}"
    return names


def _fill(model: Align, weights: dict[str, Tensor], folder: Path) -> None:
    """Give a model its weights."""
    names = _names(model) | {"temperature.value": "temperature"}
    expected = model.state_dict()
    for ours, theirs in names.items():
        got = tuple(weights[theirs].shape) if theirs in weights else None
        if got != tuple(expected[ours].shape):
            found = "is not there" if got is None else f"has the shape {got}"
            raise InputError(
                f"{folder}: {theirs} {found}, config.json asks for {tuple(expected[ours].shape)};"
                " fetch the folder again"
            )
    left = sorted(weights.keys() - set(names.values()) - set(_COUNTED))
    if left:
        raise InputError(f"{folder}: {left[0]} has no place in ALIGN; fetch the folder again")
    model.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()})
    if not model.temperature().item() > 0:
        raise InputError(f"{folder}: the temperature is {model.temperature().item()}, not above 0")


def _check_shortcuts(model: Align, where: str) -> None:
    """At widths of a quarter and less a stage may begin with a shortcut; AlignModel has none."""
    if any(stage[0].use_res_connect for stage in list(model.image_tower.trunk)[1:]):
        raise InputError(
            f"{where}: of width {model.preset.image.width}, where AlignModel and EfficientNet"
            " differ; take 0.3 or more"
        )


def _pixels(folder: Path) -> dict[str, Any]:
    """The image processor's values, in transformers 5's file or the older one."""
    if (folder / "processor_config.json").exists():
        values = read_json(folder / "processor_config.json")
        if isinstance(values, dict) and "image_processor" in values:
            return values["image_processor"]
    if (folder / "preprocessor_config.json").exists():
        return read_json(folder / "preprocessor_config.json")
    return {}


def _tokenizer(folder: Path, vocabulary_size: int) -> Tokenizer:
    """BERT's tokenizer, from tokenizer.json or from a list of pieces."""
    path = folder / "tokenizer.json"
    if path.exists():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise InputError(f"{path}: not a tokenizer file ({error})") from None
    else:
        path = folder / "vocab.txt"
        if not path.exists():
            raise InputError(
                f"{folder}: no tokenizer.json and no vocab.txt; fetch the folder again"
            )
        tokenizer = tokenizer_from_pieces(path.read_text(encoding="utf-8").splitlines())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing or tokenizer.token_to_id("[PAD]") != 0:
        raise InputError(
            f"{path}: not BERT's tokenizer ([PAD] must be 0, and {SPECIAL_TOKENS} in it)"
        )
    if tokenizer.get_vocab_size() > vocabulary_size:
        raise InputError(
            f"{path}: {tokenizer.get_vocab_size()} pieces, the model knows {vocabulary_size};"
            " they are of different models"
        )
    return tokenizer


def _save_processor(run_or_model: Run | Align, model: Align, folder: Path) -> None:
    """Write what AlignProcessor reads; without a tokenizer, only the picture's part."""
    from transformers import AlignProcessor, EfficientNetImageProcessor, PreTrainedTokenizerFast

    pictures = EfficientNetImageProcessor(**pixels_from_preset(model.preset))
    if not isinstance(run_or_model, Run):
        pictures.save_pretrained(folder)
        return
    special = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL_TOKENS, strict=True))
    words = PreTrainedTokenizerFast(
        tokenizer_object=run_or_model.tokenizer,
        model_max_length=MAX_LENGTH,
        **{f"{name}_token": token for name, token in special.items()},
    )
    AlignProcessor(pictures, words).save_pretrained(folder)
