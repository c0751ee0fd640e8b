"""ALIGN: two towers, one shared space, one temperature."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.loss import Temperature, contrastive_loss, sigmoid_loss
from align_edu.model.image_tower import ImageTower
from align_edu.model.text_tower import TextTower
from align_edu.presets import Preset


class Align(nn.Module):
    """The dual encoder: it maps pictures and texts to unit vectors in one space of D dimensions.

    The weights are random and depend on ``seed`` alone; torch's global generator stays untouched.

    Paper: Section 4.1, Figure 1.

    >>> from align_edu.presets import get_preset
    >>> model = Align(get_preset("toy"), vocabulary_size=100, seed=0)
    >>> ids = torch.tensor([[2, 7, 3], [2, 9, 3]])
    >>> image = model.encode_image(torch.zeros(2, 3, 48, 48))
    >>> text = model.encode_text(ids, torch.ones_like(ids))
    >>> image.shape == text.shape
    True
    """

    def __init__(self, preset: Preset, vocabulary_size: int, seed: int = 0) -> None:
        super().__init__()
        self.preset = preset
        with torch.random.fork_rng():  # torch's initialisers read the global generator
            torch.manual_seed(seed)
            self.image_tower = ImageTower(preset.image)
            self.text_tower = TextTower(preset.text, vocabulary_size, self.image_tower.width)
        self.temperature = Temperature(
            preset.loss.temperature, learned=preset.loss.learned, log=preset.loss.log_temperature
        )
        if preset.loss.kind == "sigmoid":
            self.bias = nn.Parameter(torch.tensor(preset.loss.bias))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return a unit vector per picture: (B, 3, H, W) → (B, D)."""
        return F.normalize(self.image_tower(pixels), dim=1)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return a unit vector per text: ids and mask (B, L) → (B, D)."""
        return F.normalize(self.text_tower(ids, mask), dim=1)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of a batch of pairs: two (B, D) tensors."""
        return self.encode_image(pixels), self.encode_text(ids, mask)

    def loss(self, image: Tensor, text: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
        """Return the loss of matched embeddings, each (N, D), with the preset's options.

        group: the processes whose pairs form one batch, as in ``contrastive_loss``. With
        ``loss.cores`` the mean of the losses of equal parts; ValueError if N does not divide.

        Paper: Section 4.1, eq. (1) and eq. (2).

        >>> from align_edu.presets import get_preset
        >>> model = Align(get_preset("toy"), vocabulary_size=100)
        >>> same = torch.ones(8, model.image_tower.width)
        >>> round(model.loss(same, same).item(), 3)  # 2 ln 8
        4.159
        """
        settings, sigma = self.preset.loss, self.temperature()
        if settings.kind == "sigmoid":
            return sigmoid_loss(image, text, sigma, self.bias, tile=settings.tile, group=group)
        if len(image) % settings.cores:
            raise ValueError(f"{len(image)} pairs do not divide among loss.cores={settings.cores}")
        losses = [
            contrastive_loss(
                x, y, sigma, label_smoothing=settings.label_smoothing,
                negatives=settings.negatives, tile=settings.tile, group=group,
            )
            for x, y in zip(image.chunk(settings.cores), text.chunk(settings.cores), strict=True)
        ]  # fmt: skip
        return torch.stack(losses).mean()
