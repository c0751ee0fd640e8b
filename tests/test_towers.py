"""The text tower and the dual encoder."""

import pytest
import torch

from align_edu.model.align import Align
from align_edu.model.text_tower import TextTower
from align_edu.presets import TextSettings, get_preset

TOY = get_preset("toy")


def batch(size=4, length=7, vocabulary=100):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(size, 3, 48, 48, generator=generator)
    ids = torch.randint(5, vocabulary, (size, length), generator=generator)
    return pixels, ids, torch.ones_like(ids)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    settings = TextSettings(layers=2, width=32, heads=2, dropout=0.0, positions=64)
    return TextTower(settings, 100, width=16).eval()


def test_the_text_tower_is_bert_and_reads_its_cls_embedding(tower):
    from transformers import BertConfig, BertModel

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


@pytest.mark.parametrize("size", [4, 70])
def test_padding_and_the_order_of_lengths_do_not_change_a_text(tower, size):
    _, ids, _ = batch(size, 20)
    lengths = torch.randint(3, 12, (size, 1), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(20) < lengths).long()
    with torch.no_grad():
        together = tower(ids * mask, mask)  # on a CPU by length, 32 at a time
        at_once = tower._encode(ids * mask, mask)  # as a GPU and XLA encode them
        alone = torch.cat([tower(i[None, :n], m[None, :n]) for i, m, n in zip(ids, mask, lengths)])
    assert torch.allclose(together, alone, atol=1e-5) and torch.allclose(at_once, alone, atol=1e-5)


def test_align_gives_unit_vectors_and_the_same_weights_for_the_same_seed():
    one, same, other = (Align(TOY, 100, seed=s) for s in (1, 1, 2))
    for embeddings in one.eval()(*batch()):
        assert torch.allclose(embeddings.norm(dim=1), torch.ones(4), atol=1e-5)
    states = (model.state_dict() for model in (one, same, other))
    for (name, a), b, c in zip(*(state.items() for state in states)):
        assert torch.equal(a, b[1]), name
        assert not name.endswith("projection.weight") or not torch.equal(a, c[1])


def test_building_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    Align(TOY, 100, seed=3)
    assert torch.equal(torch.rand(1), expected)
