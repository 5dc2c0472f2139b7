"""Choosing the rows of a mask dataset that are worth keeping, and writing them as a dataset of their own."""

from pipeline.curate.rules import Rules

__all__ = ["Rules"]
