"""The second exercise of notebook 08: one training step."""

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


def _cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    seeds = torch.randint(10**6, (4,), generator=generator).tolist()
    plans = (
        "SGD, 2 pairs, 1 batch",
        "SGD, 6 pairs, 3 batches",
        "Adam, 5 pairs, 3 batches",
        "AdamW, 9 pairs, 4 batches",
    )
    return [(f"{plan}, seed {seed}",) for plan, seed in zip(plans, seeds, strict=True)]


def _loss(
    model: Any, batch: Batch, smoothing: float, *, sigma: Any = None, detached: bool = False
) -> Tensor:
    image, text = model(*batch)
    if detached:
        image, text = image.detach(), text.detach()
    sigma = model.temperature() if sigma is None else sigma
    return contrastive_loss(image, text, sigma, label_smoothing=smoothing)


def _in_order(*acts: str, loss_of: Callable[..., Tensor] = _loss) -> Step:
    """A step that does these of "clear", "backward" and "step", in this order."""

    def step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float) -> float:
        """Take the step and return the loss."""
        loss = loss_of(model, batch, smoothing)
        do: dict[str, Callable[[], Any]] = {
            "clear": optimizer.zero_grad,
            "backward": loss.backward,
            "step": optimizer.step,
        }
        for act in acts:
            do[act]()
        return loss.item()

    return step


def _with(loss_of: Callable[..., Tensor]) -> Step:
    """The right step of another loss."""
    return _in_order("clear", "backward", "step", loss_of=loss_of)


def _one_direction(model: Any, batch: Batch, smoothing: float) -> Tensor:
    image, text = model(*batch)
    logits = image @ text.T / model.temperature()
    return F.cross_entropy(logits, torch.arange(len(image)), label_smoothing=smoothing)


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
        _in_order("backward", "step"),
        "The gradients of all earlier steps add up: clear them with optimizer.zero_grad() before "
        "loss.backward().",
    ),
    WrongAnswer(
        _in_order("step", "clear", "backward"),
        "Each step uses the gradients of the batch before it: call optimizer.step() after "
        "loss.backward().",
    ),
    WrongAnswer(
        _in_order("clear", "backward"),
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
    observe="align_edu.lab.short_training:train_shortly",
)
