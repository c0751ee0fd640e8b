"""Exercises of notebook 08: the learning rate, and one training step."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercises import Answer, Cases, exercise
from align_edu.loss import contrastive_loss

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


def _warm(then: Callable[[int, int, int], float]) -> Answer:
    """Return a schedule with the right warm-up and another part after it."""
    return lambda t, n, w, peak: peak * (t / w if t < w else then(t, n, w))


def _loss(
    m: Any, batch: Batch, e: float, sigma: Any = None, of: Callable[[Tensor], Tensor] = Tensor.clone
) -> Tensor:
    image, text = map(of, m(*batch))
    sigma = m.temperature() if sigma is None else sigma
    return contrastive_loss(image, text, sigma, label_smoothing=e)


def _one_direction(m: Any, batch: Batch, e: float) -> Tensor:
    image, text = m(*batch)
    logits = image @ text.T / m.temperature()
    return F.cross_entropy(logits, torch.arange(len(image)), label_smoothing=e)


def _step(loss_of: Answer = _loss, order: str = "clear backward step") -> Answer:
    """Return a step with another loss, or with its three acts in another order."""

    def step(m: Any, optimizer: Optimizer, batch: Batch, e: float) -> float:
        """Take the step and return the loss."""
        loss = loss_of(m, batch, e)
        acts = {"clear": optimizer.zero_grad, "backward": loss.backward, "step": optimizer.step}
        for act in order.split():
            acts[act]()
        return loss.item()

    return step


def _after(result: Answer) -> Answer:
    """Return the right step with another result."""
    return lambda m, o, batch, e: result(training_step(m, o, batch, e), m, o, batch, e)


exercise(
    learning_rate_at,
    _rate_cases,
    no_warmup=lambda t, n, w, peak: peak * (n - t) / n,
    no_decay=_warm(lambda t, n, w: 1.0),
    jumps=_warm(lambda t, n, w: 1 - t / n),
    ends_too_high=_warm(lambda t, n, w: 1 - (t - w) / n),
    whole_division=lambda t, n, w, peak: peak * (t // w if t < w else (n - t) // (n - w)),
    cosine=_warm(lambda t, n, w: (1 + math.cos(math.pi * (t - w) / (n - w))) / 2),
    one_ahead=lambda t, n, w, peak: peak * ((t + 1) / w if t < w else (n - t) / (n - w)),
    zero_division=lambda t, n, w, peak: peak * min(t / w, (n - t) / (n - w)),
    no_peak=lambda t, n, w, peak: t / w if t < w else (n - t) / (n - w),
    rises_again=_warm(lambda t, n, w: (t - w) / (n - w)),
)

exercise(
    training_step,
    _step_cases,
    observe="align_edu.lab.stand_ins:train_shortly",
    not_cleared=_step(order="backward step"),
    step_first=_step(order="step clear backward"),
    no_step=_step(order="clear backward"),
    one_direction=_step(_one_direction),
    no_temperature=_step(lambda m, b, e: _loss(m, b, e, sigma=1.0)),
    fixed_temperature=_step(lambda m, b, e: _loss(m, b, e, sigma=m.temperature().item())),
    not_smoothed=_step(lambda m, b, e: _loss(m, b, 0.0)),
    detached=_step(lambda m, b, e: _loss(m, b, e, of=Tensor.detach)),
    climbs=_step(lambda m, b, e: -_loss(m, b, e)),
    halved=_step(lambda m, b, e: _loss(m, b, e) / 2),
    loss_after=_after(lambda loss, m, o, b, e: _loss(m, b, e).item()),
    two_steps=_after(lambda loss, m, o, b, e: (training_step(m, o, b, e), loss)[1]),
    nothing_returned=_after(lambda loss, m, o, b, e: None),
)
