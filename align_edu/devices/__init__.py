"""Devices: what each kind can do, and what a training run costs on it."""

from align_edu.devices.chips import CHIPS, Chip, get_chip
from align_edu.devices.here import measure_here
from align_edu.devices.plan import Plan, plan_run

__all__ = ["CHIPS", "Chip", "Plan", "get_chip", "measure_here", "plan_run"]
