"""Which texts count as negatives of which images."""

import torch
from torch import Tensor


def allowed_pairs(
    rows: range, n: int, negatives: float, ids: Tensor | None, device: torch.device
) -> Tensor | None:
    """Return which columns each row may be compared with: (rows, N) booleans, or None for all.

    rows: the images of this tile. negatives, ids: as in ``contrastive_loss``.

    Paper: Section 6.1, Table 8 (fewer in-batch negatives).

    >>> allowed_pairs(range(3), 3, 0.5, None, torch.device("cpu")).int().tolist()
    [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
    """
    if negatives == 1.0 and ids is None:
        return None
    row = torch.arange(rows.start, rows.stop, device=device)[:, None]  # (R, 1)
    column = torch.arange(n, device=device)[None]  # (1, N)
    # The batch is shuffled, so a window in batch order is a random sample of the negatives,
    # and the same window read by columns gives each text as many.
    window = (column - row) % n <= round((n - 1) * negatives)
    if ids is not None:
        window &= ids[rows.start : rows.stop, None] != ids[None]
    return window | (row == column)
