"""Devices: one thin layer each, and the plan of a run."""
