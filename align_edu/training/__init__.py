"""Training: the recipe, the loop, checkpoints, and the folder of a run."""

from align_edu.io import TrainingStopped
from align_edu.training.loop import train
from align_edu.training.recipe import Budget, build_optimizer, learning_rate_factor
from align_edu.training.run import Run, load_preset, load_run

__all__ = ["Budget", "Run", "TrainingStopped", "build_optimizer", "learning_rate_factor"]
__all__ += ["load_preset", "load_run", "train"]
