"""The contrastive loss in its forms, and the temperature."""

from align_edu.loss.contrastive import contrastive_loss, sigmoid_loss
from align_edu.loss.temperature import (
    Temperature,
    best_temperature,
    chance_loss,
    cosine_gap,
    loss_floor,
)

__all__ = ["Temperature", "best_temperature", "chance_loss", "contrastive_loss"]
__all__ += ["cosine_gap", "loss_floor", "sigmoid_loss"]
