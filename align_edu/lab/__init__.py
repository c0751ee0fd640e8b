"""The lab: opens a notebook, checks exercises, gives quizzes. The model code never imports it."""

from align_edu.lab import doctor
from align_edu.lab.checks import case, check, hint, reveal, yours_or_ours
from align_edu.lab.exercise import Exercise, Hint, WrongAnswer
from align_edu.lab.exercises import add_exercise
from align_edu.lab.model import model
from align_edu.lab.progress import progress
from align_edu.lab.quiz import quiz
from align_edu.lab.start import rng, start

__all__ = [
    "Exercise",
    "Hint",
    "WrongAnswer",
    "add_exercise",
    "case",
    "check",
    "doctor",
    "hint",
    "model",
    "progress",
    "quiz",
    "reveal",
    "rng",
    "start",
    "yours_or_ours",
]
