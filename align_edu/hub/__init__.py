"""The released ALIGN weights: Hugging Face's AlignModel in and out, number for number."""

import re
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from align_edu.hub import names as hf
from align_edu.io import InputError, cannot_write, lfs_remedy, read_json
from align_edu.model.align import Align
from align_edu.model.text_tower import SPECIAL_TOKENS, read_tokenizer, tokenizer_from_pieces
from align_edu.training.run import Run, load_tensors, save_tensors

RELEASED = "kakaobrain/align-base"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"  # of weights in several files
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Buffers of older files: constants, not learned.
_CONSTANTS = {"text_model.embeddings.position_ids", "text_model.embeddings.token_type_ids"}


def load_hf(path_or_name: str | Path, device: str = "cpu") -> Run:
    """Return the ALIGN model in a folder of transformers' AlignModel, ready to encode.

    path_or_name: a folder that ``AlignModel.save_pretrained`` or :func:`save_hf` wrote, or a
    name on the Hugging Face hub whose files are in this machine's cache. Nothing is downloaded
    and nothing is unpickled. The embeddings equal AlignModel's. A folder without a tokenizer
    gives a run that encodes pictures, and raises InputError for texts.
    Raises InputError when files are missing, damaged or pickled, or belong to another model.

    Paper: Sections 4.1 and 5; the weights are COYO-ALIGN's, trained by others.

    >>> load_hf("nobody/nothing")
    Traceback (most recent call last):
    align_edu.io.InputError: nobody/nothing: not in this machine's cache; ...
    """
    folder = _find_folder(path_or_name)
    where = folder / "config.json"
    config = hf.read_config(where)
    preset = hf.preset_from_hf(config, where, Path(path_or_name).name)
    tokenizer = _read_tokenizer(folder, preset.text.vocabulary_size)
    weights = _read_weights(folder)
    model = Align(preset, preset.text.vocabulary_size)
    names = _names(model, str(where)) | {"temperature.value": "temperature"}
    if (got := config.projection_dim) != (width := model.image_tower.width):
        raise InputError(f"{where}: projection_dim is {got}, the image tower's width {width}")
    learned = {name: weights[name] for name in weights.keys() - _CONSTANTS}
    hf.copy_weights(model, learned, names, str(folder), "fetch the folder again")
    if not (temperature := model.temperature().item()) > 0:
        raise InputError(f"{folder}: the temperature is {temperature}, not above 0")
    return Run(folder, preset, tokenizer, model.eval().to(device))


def save_hf(run_or_model: Run | Align, folder: str | Path) -> Path:
    """Write a model as a folder that transformers' AlignModel reads, and return the folder.

    With a run, which has a tokenizer, ``AlignProcessor.from_pretrained`` reads the folder too.
    The weights are float32. AlignModel has a pooler after BERT that it never uses: for a model
    from :func:`load_hf` it is written unchanged, for any other as zeros.
    Raises InputError when the folder is not empty, or when AlignModel cannot compute the model
    (another padding than ``"tf_static"``, a linear layer after the image tower).

    Paper: Section 4.1.
    """
    model = run_or_model.model if isinstance(run_or_model, Run) else run_or_model
    folder = Path(folder)
    bert = model.text_tower.bert.config
    config = hf.hf_from_preset(model.preset, bert.vocab_size, model.image_tower.width)
    names = _names(model, "this model")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not empty; choose a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
        _save_processor(run_or_model, model, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    own, width = model.state_dict(), bert.hidden_size
    tensors = {
        "text_model.pooler.dense.weight": torch.zeros(width, width),
        "text_model.pooler.dense.bias": torch.zeros(width),
        "temperature": model.temperature().detach(),
    }
    tensors |= {theirs: own[ours] for ours, theirs in names.items()}
    save_tensors(folder / _WEIGHTS, tensors, {"format": "pt"})
    return folder


def _find_folder(path_or_name: str | Path) -> Path:
    """Return the folder, or the snapshot of a hub name in this machine's cache."""
    from huggingface_hub import snapshot_download

    folder, name = Path(path_or_name), str(path_or_name)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or folder.exists():
        raise InputError(f"{name}: no such folder; give an AlignModel's folder, or {RELEASED!r}")
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        size = "690 MB" if name == RELEASED else f"{RELEASED} has 690 MB"
        how = f"hf download {name} --include '*.json' --include '*.txt' --include '*.safetensors'"
        remedy = f"fetch it once, with a network ({size}), by `{how}`"
        raise InputError(f"{name}: not in this machine's cache; {remedy}") from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a folder, from one safetensors file or several."""
    if (folder / _WEIGHTS).exists():
        return load_tensors(folder / _WEIGHTS)
    if (folder / _INDEX).exists():
        index = read_json(folder / _INDEX)
        files = sorted(set(index["weight_map"].values())) if "weight_map" in index else []
        if not files or any(Path(file).name != file for file in files):
            raise InputError(f"{folder / _INDEX}: not an index of weights; fetch the folder again")
        parts = [load_tensors(folder / file) for file in files]
        return {name: tensor for part in parts for name, tensor in part.items()}
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    why = f"only pickled weights ({pickled[0]}), which can run code" if pickled else "no such file"
    raise InputError(f"{folder / _WEIGHTS}: {why}; write it with AlignModel.save_pretrained")


def _names(model: Align, where: str) -> dict[str, str]:
    """Return AlignModel's name of each of our tensors but σ, which may be stored as log σ.

    Refuses widths up to a quarter, at which stages may start with a shortcut; theirs never do.
    """
    if any(stage[0].use_res_connect for stage in list(model.image_tower.trunk)[1:]):
        width = model.preset.image.width
        raise InputError(f"{where}: AlignModel has no tower of width {width}; use 0.3 or more")
    trunk = hf.trunk_names(model.image_tower)
    names = {f"image_tower.trunk.{ours}": f"vision_model.{name}" for ours, name in trunk.items()}
    for name in model.text_tower.state_dict():
        part, _, rest = name.partition(".")
        names[f"text_tower.{name}"] = f"text_{'model' if part == 'bert' else part}.{rest}"
    return names


def _read_tokenizer(folder: Path, vocabulary_size: int) -> Tokenizer | None:
    """Return BERT's tokenizer, from tokenizer.json or from a list of pieces, or None."""
    path = folder / "tokenizer.json"
    if path.exists():
        tokenizer = read_tokenizer(path)
    elif (path := folder / "vocab.txt").exists():
        try:
            tokenizer = tokenizer_from_pieces(path.read_text(encoding="utf-8").splitlines())
        except ValueError as error:  # a piece is missing, or it is not UTF-8
            raise InputError(f"{path}: {lfs_remedy(path) or error}") from None
    else:
        return None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
    if None in ids or tokenizer.token_to_id("[PAD]") != 0:
        raise InputError(f"{path}: not BERT's tokenizer; it needs {SPECIAL_TOKENS}, [PAD] as 0")
    if (pieces := tokenizer.get_vocab_size()) > vocabulary_size:
        raise InputError(f"{path}: {pieces} pieces, but the model has {vocabulary_size}")
    return tokenizer


def _save_processor(run_or_model: Run | Align, model: Align, folder: Path) -> None:
    """Write the files of an AlignProcessor; without a tokenizer, only those of its image part."""
    from transformers import AlignProcessor, EfficientNetImageProcessor, PreTrainedTokenizerFast

    pictures = EfficientNetImageProcessor(**hf.pixels_from_preset(model.preset))
    if not isinstance(run_or_model, Run) or run_or_model.tokenizer is None:
        pictures.save_pretrained(folder)
        return
    names = (f"{name}_token" for name in ("pad", "unk", "cls", "sep", "mask"))
    options = dict(zip(names, SPECIAL_TOKENS, strict=True)) | {"model_max_length": hf.MAX_LENGTH}
    words = PreTrainedTokenizerFast(tokenizer_object=run_or_model.tokenizer, **options)
    AlignProcessor(pictures, words).save_pretrained(folder)
