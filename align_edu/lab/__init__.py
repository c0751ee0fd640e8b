"""The lab: opens a notebook, checks exercises, gives quizzes. The model code never imports it."""

from align_edu.lab import answers, doctor
from align_edu.lab.checks import case, check, hint, reveal, yours_or_ours
from align_edu.lab.course import model, rng, start
from align_edu.lab.exercises import Exercise, Hint, WrongAnswer, add_exercise
from align_edu.lab.quiz import progress, quiz

__all__ = [
    "Exercise", "Hint", "WrongAnswer", "add_exercise", "answers", "case", "check", "doctor",
    "hint", "model", "progress", "quiz", "reveal", "rng", "start", "yours_or_ours",
]  # fmt: skip
