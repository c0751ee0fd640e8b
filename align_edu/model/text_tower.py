"""The text tower: BERT, its [CLS] embedding, and one linear layer."""

import torch
from torch import Tensor, nn

from align_edu.presets import TextSettings

# A processor's time goes with the padded length: texts of like length are encoded together,
# which changes nothing but the padding.
_CHUNK = 32


class TextTower(nn.Module):
    """BERT from scratch; the last hidden state of [CLS] goes through a linear layer.

    ``vocabulary_size`` is that of the trained WordPiece (it may be smaller than the
    setting's, when the text has no more), ``width`` the output width D.

    Paper: Section 4.1.

    >>> import torch
    >>> tower = TextTower(TextSettings(layers=1, width=32, heads=2), 50, width=16)
    >>> ids = torch.tensor([[2, 7, 3, 0]])
    >>> tower(ids, (ids > 0).long()).shape
    torch.Size([1, 16])
    """

    def __init__(self, settings: TextSettings, vocabulary_size: int, width: int) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        config = BertConfig(
            vocab_size=vocabulary_size,
            hidden_size=settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=4 * settings.width,
            max_position_embeddings=max(settings.max_length, settings.positions),
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
            initializer_range=settings.width**-0.5,
        )
        self.bert = BertModel(config, add_pooling_layer=settings.pooler)
        if self.bert.pooler is not None:
            self.bert.pooler.requires_grad_(False)  # nothing flows through it
        self.projection = nn.Linear(settings.width, width)
        self.width = width

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return one embedding a text, not normalised: ids and mask (B, L) → (B, D).

        >>> import torch
        >>> tower = TextTower(TextSettings(layers=1, width=32, heads=2), 50, width=16)
        >>> tower(torch.tensor([[2, 3]]), torch.ones(1, 2, dtype=torch.long)).shape
        torch.Size([1, 16])
        """
        if ids.device.type != "cpu" or len(ids) <= _CHUNK:
            return self._encode(ids, mask)
        lengths = mask.sum(dim=1)  # (B,)
        order = lengths.argsort(stable=True)
        parts = [
            self._encode(ids[rows, : int(lengths[rows[-1]])], mask[rows, : int(lengths[rows[-1]])])
            for rows in order.split(_CHUNK)
        ]
        return torch.cat(parts)[order.argsort()]  # back in the batch's order

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        if ids.device.type == "xla":
            # BERT looks whether a mask of two axes has any zero, which would stop the step to
            # read a tensor; one of four axes, the attention's own, it takes as it is.
            mask = mask[:, None, None].bool().expand(-1, -1, ids.shape[1], -1)  # (B, 1, L, L)
        hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, H)
        return self.projection(hidden[:, 0])  # (B, D): [CLS] is the first piece
