"""Both towers and the dual encoder, against torchvision, transformers and the published sizes."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from align_edu.io import InputError
from align_edu.model.align import Align
from align_edu.model.image_tower import ImageTower
from align_edu.model.text_tower import TextTower
from align_edu.presets import (
    PRESETS,
    ImageSettings,
    TextSettings,
    get_preset,
    preset_from_dict,
    replace_fields,
)

TOY = get_preset("toy")


def batch(size=4, length=7, vocabulary=100):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(size, 3, 48, 48, generator=generator)
    ids = torch.randint(5, vocabulary, (size, length), generator=generator)
    return pixels, ids, torch.ones_like(ids)


@pytest.mark.parametrize(
    ("width", "depth", "trunk_width", "millions"),
    [(1.0, 1.0, 320, 3.60), (1.2, 1.4, 384, 10.10), (1.6, 2.2, 512, 27.29), (2.0, 3.1, 640, 62.14)],
)
def test_the_trunk_has_the_published_width_and_size(width, depth, trunk_width, millions):
    with torch.device("meta"):
        tower = ImageTower(ImageSettings(width=width, depth=depth))
    assert tower.width == trunk_width
    count = sum(p.numel() for p in tower.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


def test_the_trunk_is_torchvisions_b0_up_to_the_head_convolution():
    from torchvision.models import efficientnet_b0

    torch.manual_seed(0)
    theirs = efficientnet_b0(norm_layer=partial(nn.BatchNorm2d, eps=1e-3)).eval()
    ours = ImageTower(ImageSettings(width=1.0, depth=1.0)).eval()
    ours.trunk.load_state_dict(theirs.features[:-1].state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    expected = nn.functional.adaptive_avg_pool2d(theirs.features[:-1](pixels), 1).flatten(1)
    assert torch.allclose(ours(pixels), expected, atol=1e-5)


def test_the_embedding_width_does_not_depend_on_the_resolution():
    tower = ImageTower(TOY.image).eval()
    assert {tower(torch.zeros(1, 3, side, side)).shape for side in (33, 48, 97)} == {(1, 112)}


def test_b3_and_b5_have_a_linear_layer_to_640_and_l2_has_none():
    with torch.device("meta"):
        assert ImageTower(get_preset("cc3m").image).width == 640
        assert ImageTower(get_preset("b5_base").image).width == 640
        large = ImageTower(get_preset("l2_large").image)
    assert large.width == 1376 and isinstance(large.projection, nn.Identity)


def test_a_training_step_moves_batch_norm_statistics_as_tensorflow_does():
    tower = ImageTower(dataclasses.replace(TOY.image, batch_norm_momentum=0.01)).train()
    norm = tower.trunk[0][1]
    seen = []
    norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    tower(torch.randn(8, 3, 48, 48))
    # TensorFlow's momentum 0.99: new = 0.99 old + 0.01 of the batch's mean, from zero.
    assert torch.allclose(norm.running_mean, 0.01 * seen[0].mean(dim=(0, 2, 3)), atol=1e-7)


def test_the_text_tower_is_bert_and_reads_its_cls_embedding():
    from transformers import BertConfig, BertModel

    settings = TextSettings(layers=2, width=32, heads=2, dropout=0.0, positions=64)
    tower = TextTower(settings, 100, width=16).eval()
    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    bert.load_state_dict(tower.bert.state_dict())
    _, ids, mask = batch()
    cls = bert(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    assert torch.allclose(tower(ids, mask), tower.projection(cls), atol=1e-6)


def test_padding_does_not_change_a_text():
    tower = TextTower(TextSettings(layers=2, width=32, heads=2, dropout=0.0), 100, 16).eval()
    _, ids, mask = batch()
    zeros = torch.zeros(len(ids), 9, dtype=torch.long)
    padded = tower(torch.cat([ids, zeros], 1), torch.cat([mask, zeros], 1))
    assert torch.allclose(tower(ids, mask), padded, atol=1e-6)


def test_align_gives_unit_vectors_and_the_same_weights_for_the_same_seed():
    one, same, other = (Align(TOY, 100, seed=s) for s in (1, 1, 2))
    pixels, ids, mask = batch()
    image, text = one.eval()(pixels, ids, mask)
    assert torch.allclose(image.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(text.norm(dim=1), torch.ones(4), atol=1e-5)
    for (name, a), b, c in zip(
        one.state_dict().items(),
        same.state_dict().values(),
        other.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b), name
        if name.endswith("projection.weight"):
            assert not torch.equal(a, c)


def test_building_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    Align(TOY, 100, seed=3)
    assert torch.equal(torch.rand(1), expected)


def test_the_presets_hold_the_papers_numbers():
    paper = get_preset("l2_large")
    assert (paper.image.resize, paper.image.crop, paper.text.max_length) == (346, 289, 64)
    assert (paper.loss.temperature, paper.loss.label_smoothing) == (1.0, 0.1)
    assert (paper.recipe.optimizer, paper.recipe.weight_decay) == ("lamb", 1e-5)
    assert (paper.recipe.learning_rate, paper.recipe.batch_size) == (1e-3, 1024 * 16)
    assert (paper.recipe.steps, paper.recipe.warmup * paper.recipe.steps) == (1_200_000, 10_000)
    assert get_preset("cc3m").recipe.steps == paper.recipe.steps // 10  # Section 6.2
    assert paper.text.vocabulary_size == 100_000
    # 346 to 289 and 58 to 48 are the same ratio, to the nearest pixel.
    assert round(TOY.image.crop * 346 / 289) in (TOY.image.resize - 1, TOY.image.resize)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_the_way_through_json(name):
    import json

    assert preset_from_dict(json.loads(json.dumps(get_preset(name).to_dict()))) == get_preset(name)


def test_one_number_of_a_preset_can_be_changed():
    changed = replace_fields(TOY, {"recipe.learning_rate": "1", "image.projection": "64"})
    assert changed.recipe.learning_rate == 1.0 and changed.image.projection == 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe.speed": "1"}, "no such field"),
        ({"batch_size": "1"}, "no such field"),
        ({"recipe.batch_size": "many"}, "int"),
        ({"recipe.compile": "1"}, "bool"),
        ({"recipe.batch_size": "0.5"}, "int"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        replace_fields(TOY, change)


def test_an_unknown_preset_names_those_that_exist():
    with pytest.raises(InputError, match="toy, cc3m"):
        get_preset("huge")
