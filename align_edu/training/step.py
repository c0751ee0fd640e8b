"""One training step: two towers, one loss, one update; on one device or on many."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from align_edu.loss import cosine_gap
from align_edu.model.align import Align
from align_edu.pairs.pixels import scale_pixels
from align_edu.presets import Preset
from align_edu.training.batches import Batch, TrainingBatches
from align_edu.training.devices import Machine
from align_edu.training.gradient_cache import backward_in_chunks
from align_edu.training.machine import Tower
from align_edu.training.recipe import Budget, learning_rate_factor

REPLICATED = 4_096  # up to this batch every process computes the whole N × N loss


@dataclass
class Trainer:
    """What one run needs: the model, its optimiser, its batches, and how far it is."""

    preset: Preset
    model: Align
    optimizer: torch.optim.Optimizer
    batches: TrainingBatches
    budget: Budget
    seed: int
    machine: Machine
    image_tower: Tower  # the model's own, or its compiled form
    step: int = 0
    seconds: float = 0.0  # of training so far, by the clock of process 0
    started: float = 0.0  # time.perf_counter() at second 0
    gap: Tensor = field(default_factory=lambda: torch.zeros(()))  # of the last batch's cosines

    def progress(self) -> float:
        """Return the fraction of the run that is over, 0…1."""
        return self.budget.progress(self.step, self.seconds)

    def train_step(self, batch: Batch) -> Tensor:
        """Take one optimiser step and return the loss of the whole batch.

        Paper: Section 4.1 (loss), Section 5 (schedule).
        """
        recipe = self.preset.recipe
        progress = self.budget.of_step(self.step, self.seconds)
        rate = recipe.learning_rate * learning_rate_factor(progress, recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        chunk = recipe.chunk or len(batch.ids)
        chunks = -(-len(batch.ids) // chunk)
        loss, image, text = backward_in_chunks(
            self.model,
            lambda i: self.embed(batch, slice(i * chunk, (i + 1) * chunk), i),
            chunks,
            self.loss,
        )
        self.gap = cosine_gap(image, text)
        clock = time.perf_counter() - self.started
        self.seconds = self.machine.average_gradients(self.model, clock)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.machine.finish_step()
        self.step += 1
        return loss

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the loss of the whole batch from this process's embeddings, each (B, D)."""
        if self.preset.recipe.batch_size > REPLICATED:
            return self.model.loss(image, text, self.machine.group)
        return self.model.loss(*self.machine.whole_batch(image, text))

    def embed(self, batch: Batch, rows: slice, chunk: int = 0) -> tuple[Tensor, Tensor]:
        """Return the two towers' outputs for some rows of a batch, each (B, D)."""
        pixels = scale_pixels(self.machine.place(batch.crops[rows]))
        ids, mask = self.machine.place(batch.ids[rows]), self.machine.place(batch.mask[rows])
        kind = self.machine.device.type
        # Dropout and stochastic depth read the global generator; each step, and each chunk of
        # the global batch, lends it a seed of its own, so that a second pass draws the same.
        place = self.batches.rows.start // len(ids) + chunk
        seed = (self.seed * 1_000_003 + self.step) * 1_000_003**place % 2**63
        low = torch.autocast(kind, torch.bfloat16, enabled=self.machine.low_precision)
        with self.machine.seeded(seed), low:
            return self.image_tower(pixels), self.model.text_tower(ids, mask)
