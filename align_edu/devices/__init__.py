"""Devices: one thin layer each, and what a training run costs on each kind."""
