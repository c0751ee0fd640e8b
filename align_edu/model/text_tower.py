"""The text tower: BERT, its [CLS] embedding, and one linear layer."""

import torch
from torch import Tensor, nn

from align_edu.presets import TextSettings

_CHUNK = 32  # texts that a CPU encodes together


class TextTower(nn.Module):
    """BERT from scratch; a linear layer maps the last hidden state of [CLS] to D numbers.

    vocabulary_size: that of the trained WordPiece, which is smaller than the setting's where the
    training texts give no more. width: D, the width of the image tower.

    Paper: Section 4.1.

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
            max_position_embeddings=settings.positions,
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
            initializer_range=settings.width**-0.5,
        )
        self.bert = BertModel(config, add_pooling_layer=settings.pooler)
        if self.bert.pooler is not None:
            self.bert.pooler.requires_grad_(False)  # not part of the forward pass
        self.projection = nn.Linear(settings.width, width)
        self.width = width

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return one embedding per text, not normalised: ids and mask (B, L) → (B, D)."""
        if ids.device.type != "cpu" or len(ids) <= _CHUNK:
            return self._encode(ids, mask)
        # On a CPU, padding costs time: encode texts of similar length together, without most of it.
        lengths = mask.sum(dim=1)  # (B,)
        order = lengths.argsort(stable=True)
        parts = []
        for rows in order.split(_CHUNK):
            longest = int(lengths[rows[-1]])
            parts.append(self._encode(ids[rows, :longest], mask[rows, :longest]))
        return torch.cat(parts)[order.argsort()]  # (B, D), in the order of the batch

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        if ids.device.type == "xla":
            # transformers inspects the values of a 2-D mask, which would stop XLA at each step;
            # it takes a 4-D mask as it is.
            mask = mask[:, None, None].bool().expand(-1, -1, ids.shape[1], -1)  # (B, 1, L, L)
        hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, H)
        return self.projection(hidden[:, 0])  # (B, D): [CLS] is the first piece
