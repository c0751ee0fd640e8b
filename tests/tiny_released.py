"""A folder like that of the released weights, tiny and random, and ways to spoil a copy of it."""

import json

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from align_edu.model.text_tower import tokenizer_from_pieces

TEXTS = ["a red cat", "green dogs", "a blue house in snow", "cat"]
# BERT's own numbering: [PAD] is 0, [UNK] 100 and so on, far from ours.
PIECES = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES += ["a", "red", "green", "blue", "cat", "dog", "house", "in", "snow", "##s"]


def with_random_weights(network, side=128):
    """Give a network random weights, and its BatchNorm the statistics of random pictures.

    Variances below their layer's mean are raised to it: else one thin channel in each of a
    hundred layers multiplies the numbers to billions.
    """
    torch.manual_seed(0)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        noise = torch.randn(1_000_003)  # repeated: L2 has 467 million weights
        for p in network.parameters():
            values = noise.roll(int(torch.randint(len(noise), ())))
            values = values.repeat(1 + p.numel() // len(noise))[: p.numel()].view_as(p)
            p.copy_(values * (p[0].numel() ** -0.5 if p.ndim > 1 else 0.1))
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.reset_running_stats()
            norm.momentum = 1.0
        network.train()(torch.randn(2, 3, side, side))
        for norm in norms:
            norm.running_mean.mul_(1.1)
            norm.running_var.clamp_(min=norm.running_var.mean().item())
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.9, 1.1))
    return network.eval()


def tiny_processor():
    pictures = transformers.EfficientNetImageProcessor(
        size={"height": 77, "width": 77}, crop_size={"height": 64, "width": 64},
        do_center_crop=True, rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False,
        include_top=False, resample=2,
    )  # fmt: skip
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_from_pieces(PIECES),
        model_max_length=64,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    return transformers.AlignProcessor(pictures, words)


def save_released(folder):
    torch.manual_seed(0)
    text = {"vocab_size": len(PIECES), "hidden_size": 32, "intermediate_size": 128}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {"image_size": 64, "width_coefficient": 0.35, "depth_coefficient": 0.35}
    vision |= {"hidden_dim": 112, "depthwise_padding": []}
    config = transformers.AlignConfig(
        projection_dim=112, temperature_init_value=0.05, text_config=text, vision_config=vision
    )
    model = transformers.AlignModel(config)
    with_random_weights(model.vision_model)
    with torch.no_grad():
        for p in model.text_model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
        model.text_projection.bias.normal_()
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def change_config(folder, part, **values):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    (config[part] if part else config).update(values)
    path.write_text(json.dumps(config))


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def pictures():
    make = np.random.default_rng(0)
    sizes = ((64, 64), (90, 50), (77, 77), (40, 200))
    return [Image.fromarray(make.integers(0, 255, (*s, 3), dtype=np.uint8)) for s in sizes]


def batch():
    torch.manual_seed(1)
    pixels = torch.randn(4, 3, 64, 64)
    processed = tiny_processor().tokenizer(TEXTS, padding=True, return_tensors="pt")
    return pixels, processed["input_ids"], processed["attention_mask"]
