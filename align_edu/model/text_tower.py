"""The text tower, from words to an embedding: WordPiece, BERT, and one linear layer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import BertProcessing
from tokenizers.trainers import WordPieceTrainer
from torch import Tensor, nn

from align_edu.io import InputError, lfs_remedy, written_whole
from align_edu.pairs.files import whole_text
from align_edu.presets import TextSettings

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # BERT's, ids 0 to 4
PAD, UNK, CLS, SEP, MASK = range(5)
MAX_TOKENS = 64
MAX_LETTERS = 1000  # words with rarer letters become [UNK], as in BERT's trainer
MIN_COUNT = 2  # a piece that occurs once cannot be learned
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
            vocab_size=vocabulary_size, hidden_size=settings.width,
            num_hidden_layers=settings.layers, num_attention_heads=settings.heads,
            intermediate_size=4 * settings.width, max_position_embeddings=settings.positions,
            hidden_dropout_prob=settings.dropout, attention_probs_dropout_prob=settings.dropout,
            initializer_range=settings.width**-0.5,
        )  # fmt: skip
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


def train_wordpiece(texts: Iterable[str], size: int, *, at_most: bool = False) -> Tokenizer:
    """Train an uncased WordPiece vocabulary, as BERT's, on alt-texts.

    texts: best those that pass the filters; their order makes no difference. size: number of
    pieces, the five special tokens included: [PAD] = 0, [UNK] = 1, [CLS] = 2, [SEP] = 3,
    [MASK] = 4. at_most: return fewer pieces, instead of an error, when the texts give no more.
    Raises InputError if the texts give fewer pieces, or if ``size`` is below their letters.

    Paper: Section 4.1 (100k entries, generated from the training texts).

    >>> tokenizer = train_wordpiece(["a red cat", "a red cap", "red cats"], 22)
    >>> tokenizer.encode("Red CAT").tokens
    ['[CLS]', 'red', 'ca', '##t', '[SEP]']
    """
    words = _count_words(texts)
    letters, words = _common_letters(words)
    start = SPECIAL_TOKENS + letters
    if size < len(start):
        held = f"the {len(start)} letters and special tokens of these texts"
        raise InputError(f"a vocabulary of {size} cannot hold {held}; make it {len(start)} or more")
    vocabulary = _learn(words, start, size)
    if len(vocabulary) < size and not at_most:
        given = f"they give {len(vocabulary)} pieces, so make it at most that large"
        wrong = f"a vocabulary of {size} is larger than these texts allow"
        raise InputError(f"{wrong}; {given} or give more texts")
    return _bert_tokenizer(vocabulary)


def tokenizer_from_pieces(pieces: Sequence[str]) -> Tokenizer:
    """Return BERT's uncased tokenizer with these pieces, numbered in this order.

    Raises InputError when one of the five special tokens is missing.

    >>> tokenizer_from_pieces([*SPECIAL_TOKENS, "red", "##s"]).encode("Reds").tokens
    ['[CLS]', 'red', '##s', '[SEP]']
    """
    return _bert_tokenizer({piece: number for number, piece in enumerate(pieces)})


def _bert_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    for token in SPECIAL_TOKENS:
        if token not in vocabulary:
            raise InputError(f"a vocabulary without {token} is not BERT's; add the piece")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    end, start = vocabulary["[SEP]"], vocabulary["[CLS]"]
    tokenizer.post_processor = BertProcessing(("[SEP]", end), ("[CLS]", start))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    return tokenizer


def _count_words(texts: Iterable[str]) -> Counter[str]:
    normalize = normalizers.BertNormalizer(lowercase=True).normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    words: Counter[str] = Counter()
    for text in map(whole_text, texts):
        words.update(word for word, _ in split(normalize(text)))
    return words


def _common_letters(words: Counter[str]) -> tuple[list[str], Counter[str]]:
    """Return the letters that start words, those inside (##), and the words made of them."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    ranked = sorted(counts, key=lambda letter: (-counts[letter], letter))
    common = set(ranked[:MAX_LETTERS])
    words = Counter({word: count for word, count in words.items() if common.issuperset(word)})
    inside = {"##" + letter for word in words for letter in word[1:]}
    return sorted(common) + sorted(inside), words


def _learn(words: Counter[str], start: list[str], size: int) -> dict[str, int]:
    """Merge the most frequent pairs of pieces until the vocabulary has ``size`` pieces.

    The trainer numbers letters in the order of a hash map, which differs between runs, and breaks
    ties between merges by these numbers. Passing all letters first, sorted, as special tokens
    makes its result reproducible.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = WordPieceTrainer(
        vocab_size=size, min_frequency=MIN_COUNT, special_tokens=start, show_progress=False
    )
    tokenizer.train_from_iterator(
        (" ".join([word] * count) for word, count in sorted(words.items())), trainer
    )
    return tokenizer.get_vocab()


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int = MAX_TOKENS, *,
    fixed_length: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return texts as padded token ids, [CLS] pieces [SEP], and their mask.

    max_length: tokens, [CLS] and [SEP] included; longer texts are cut before their [SEP].
    fixed_length: pad to ``max_length``, for devices that compile every new shape (XLA).
    Returns ids and mask, (B, L) int64: L is the length of the longest text, or ``max_length``;
    the mask is 1 on tokens and 0 on padding.

    Paper: Section 5 (input texts of at most 64 WordPiece tokens).

    >>> tokenizer = train_wordpiece(["a red cat", "a red cap", "red cats"], 22)
    >>> ids, mask = encode_texts(tokenizer, ["red", "a red"])
    >>> mask.tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is plain pieces
    rows = [encoding.ids for encoding in tokenizer.encode_batch_fast([*map(whole_text, texts)])]
    end = tokenizer.token_to_id("[SEP]") or SEP  # ours is 3, that of the released weights 102
    rows = [row if len(row) <= max_length else [*row[: max_length - 1], end] for row in rows]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)  # (B,)
    longest = max_length if fixed_length else max(map(len, rows), default=0)
    ids = torch.tensor(  # (B, L)
        [row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.int64
    ).reshape(len(rows), longest)
    mask = (torch.arange(longest) < lengths[:, None]).long()  # (B, L)
    return ids, mask


def save_wordpiece(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write a tokenizer as one tokenizer.json, whole or not at all."""
    with written_whole(Path(path)) as beside:
        beside.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def load_wordpiece(path: str | Path) -> Tokenizer:
    """Return the tokenizer that `save_wordpiece` wrote; InputError if the file holds none."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; make one with `align-edu vocabulary`")
    tokenizer = read_tokenizer(path)
    if [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] != list(range(5)):
        raise InputError(f"{path}: its first five entries must be {', '.join(SPECIAL_TOKENS)}")
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer in any tokenizer.json; raise InputError if the file holds none."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        reason = lfs_remedy(path) or f"not a tokenizer file ({error})"
        raise InputError(f"{path}: {reason}") from None
