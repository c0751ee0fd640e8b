"""Exercises of notebook 08: the learning rate, and one training step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise

Batch = Sequence[Tensor]
Optimizer = torch.optim.Optimizer


def learning_rate_at(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the learning rate at a step: linear up to the peak, then linear down to zero.

    Paper: Section 5.

    >>> [round(learning_rate_at(step, 100, 10, 1.0), 6) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return peak * step / warmup
    return peak * (total - step) / (total - warmup)


def training_step(model: Any, optimizer: Optimizer, batch: Batch, smoothing: float) -> float:
    """Take one training step and return the loss that the batch had before it.

    model: model(*batch) gives the unit vectors of the images and of the texts,
    model.temperature() gives σ. smoothing: of the labels.

    Paper: Section 4.1, eq. (1) and eq. (2); Section 5.
    """
    from align_edu.loss import contrastive_loss

    image, text = model(*batch)
    loss = contrastive_loss(image, text, model.temperature(), label_smoothing=smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _rate_cases(g: torch.Generator) -> Cases:
    total = int(torch.randint(50, 1000, (), generator=g))
    warmup = int(torch.randint(2, total // 2, (), generator=g))
    steps = torch.randint(0, total + 1, (8,), generator=g).tolist()
    return [(step, total, warmup, 3e-3) for step in steps]


def _step_cases(g: torch.Generator) -> Cases:
    plans = ["SGD, 2 pairs, 1 batch", "SGD, 6 pairs, 3 batches"]
    plans += ["Adam, 5 pairs, 3 batches", "AdamW, 9 pairs, 4 batches"]
    seeds = torch.randint(10**6, (4,), generator=g).tolist()
    return [(f"{plan}, seed {seed}",) for plan, seed in zip(plans, seeds)]


exercise(learning_rate_at, _rate_cases)
exercise(training_step, _step_cases, observe="align_edu.lab.stand_ins:train_shortly")
