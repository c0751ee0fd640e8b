"""The second exercise of notebook 08: one training step."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer
from align_edu.loss import contrastive_loss

Batch = Sequence[Tensor]
Step = Callable[[nn.Module, torch.optim.Optimizer, Batch, float], Any]


def training_step(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float
) -> float:
    """Take one training step and return the loss that the batch had before it.

    model: model(*batch) gives the unit vectors of the images and of the texts,
    model.temperature() gives σ. smoothing: of the labels.

    Paper: Section 4.1, eq. (1) and eq. (2); Section 5.
    """
    image, text = model(*batch)
    loss = contrastive_loss(image, text, model.temperature(), label_smoothing=smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class Towers(nn.Module):
    """Two towers of one layer each, and a temperature."""

    def __init__(self, widths: tuple[int, int], generator: torch.Generator) -> None:
        super().__init__()
        self.image, self.text = (
            nn.Parameter(torch.randn(4, n, generator=generator)) for n in widths
        )
        self.sigma = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit vectors, (B, 4) each."""
        return F.normalize(image @ self.image.T, dim=1), F.normalize(text @ self.text.T, dim=1)

    def temperature(self) -> Tensor:
        """Return σ."""
        return self.sigma


class Start:
    """Where a short training starts: batches, towers and an optimiser, from a seed."""

    def __init__(self, optimizer: str, pairs: int, batches: int, seed: int) -> None:
        self.optimizer, self.pairs, self.batches, self.seed = optimizer, pairs, batches, seed

    def __repr__(self) -> str:
        several = "one batch" if self.batches == 1 else f"{self.batches} batches one after another"
        return f"{several}, {self.pairs} pairs, {self.optimizer}"

    def train(self, step: Step) -> Tensor:
        """Return the loss that each step tells, the temperature, and the weights at the end."""
        generator = torch.Generator().manual_seed(self.seed)
        model = Towers((5, 3), generator)
        settings: dict[str, Any] = {"lr": 0.02}
        if self.optimizer == "SGD":
            settings["momentum"] = 0.9
        optimizer = getattr(torch.optim, self.optimizer)(model.parameters(), **settings)
        told = []
        for _ in range(self.batches):
            batch = [torch.randn(self.pairs, n, generator=generator) for n in (5, 3)]
            loss = step(model, optimizer, batch, 0.1)
            told.append(math.nan if loss is None else float(torch.as_tensor(loss).detach()))
        weights = [p.detach().flatten() for p in (model.sigma, model.image, model.text)]
        return torch.cat([torch.tensor(told), *weights])


def _cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    seeds = torch.randint(10**6, (4,), generator=generator).tolist()
    plans = (("SGD", 2, 1), ("SGD", 6, 3), ("Adam", 5, 3), ("AdamW", 9, 4))
    return [(Start(*plan, seed),) for plan, seed in zip(plans, seeds, strict=True)]


def _loss(
    model: Any, batch: Batch, smoothing: float, *, sigma: Any = None, detached: bool = False
) -> Tensor:
    image, text = model(*batch)
    if detached:
        image, text = image.detach(), text.detach()
    sigma = model.temperature() if sigma is None else sigma
    return contrastive_loss(image, text, sigma, label_smoothing=smoothing)


def _with(change: Callable[..., Tensor]) -> Step:
    """The right step of another loss."""

    def step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float) -> float:
        loss = change(model, batch, smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _one_direction(model: Any, batch: Batch, smoothing: float) -> Tensor:
    image, text = model(*batch)
    logits = image @ text.T / model.temperature()
    return F.cross_entropy(logits, torch.arange(len(image)), label_smoothing=smoothing)


def _never_cleared(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float
) -> float:
    loss = _loss(model, batch, smoothing)
    loss.backward()
    optimizer.step()
    return loss.item()


def _step_first(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float
) -> float:
    loss = _loss(model, batch, smoothing)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def _no_step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float) -> float:
    loss = _loss(model, batch, smoothing)
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def _loss_afterwards(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float
) -> float:
    training_step(model, optimizer, batch, smoothing)
    return _loss(model, batch, smoothing).item()


def _two_steps(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float
) -> float:
    first = training_step(model, optimizer, batch, smoothing)
    training_step(model, optimizer, batch, smoothing)
    return first


def _nothing_returned(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float
) -> None:
    training_step(model, optimizer, batch, smoothing)


TRAINING_STEP = (
    WrongAnswer(
        _never_cleared,
        "The gradients of all earlier steps add up: clear them with optimizer.zero_grad() before "
        "loss.backward().",
    ),
    WrongAnswer(
        _step_first,
        "Each step uses the gradients of the batch before it: call optimizer.step() after "
        "loss.backward().",
    ),
    WrongAnswer(
        _no_step,
        "The weights never change: optimizer.step() is missing, or zero_grad() stands between "
        "backward() and step() and leaves it nothing.",
    ),
    WrongAnswer(
        _with(_one_direction),
        "That is one direction only. The loss is the sum of two: use contrastive_loss.",
    ),
    WrongAnswer(
        _with(lambda model, batch, smoothing: _loss(model, batch, smoothing, sigma=1.0)),
        "The temperature is left out: give model.temperature() to the loss.",
    ),
    WrongAnswer(
        _with(
            lambda model, batch, smoothing: _loss(
                model, batch, smoothing, sigma=model.temperature().item()
            )
        ),
        "The temperature is not learned: .item() or .detach() cuts it off from its gradient.",
    ),
    WrongAnswer(
        _with(lambda model, batch, smoothing: _loss(model, batch, 0.0)),
        "The labels are not smoothed: give label_smoothing=smoothing to the loss.",
    ),
    WrongAnswer(
        _with(lambda model, batch, smoothing: _loss(model, batch, smoothing, detached=True)),
        "Only the temperature learns: .detach() or .data cuts the towers off from the loss.",
    ),
    WrongAnswer(
        _with(lambda model, batch, smoothing: -_loss(model, batch, smoothing)),
        "That climbs: the optimiser goes down, so give it the loss itself, without a minus.",
    ),
    WrongAnswer(
        _with(lambda model, batch, smoothing: _loss(model, batch, smoothing) / 2),
        "That is the mean of the two directions. The paper minimises their sum (Section 4.1).",
    ),
    WrongAnswer(
        _loss_afterwards,
        "The step is right, but you return the loss after it: return the one that was there.",
    ),
    WrongAnswer(_two_steps, "These are two steps of the same batch: one is asked for."),
    WrongAnswer(_nothing_returned, "The step is taken, but the loss is not returned."),
)

EXERCISE = Exercise(
    "08",
    training_step,
    _cases,
    TRAINING_STEP,
    (
        Hint("What goes in?", "image, text = model(*batch), and model.temperature()."),
        Hint("Which loss?", "contrastive_loss(image, text, σ, label_smoothing=smoothing)."),
        Hint("In what order?", "zero_grad, backward, step; then return loss.item()."),
    ),
    observe=lambda step, start: start.train(step),
)
