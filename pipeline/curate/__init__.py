"""Choosing the rows of a mask dataset that are worth keeping, and writing them as a dataset of their own."""

from pipeline.curate.rules import Rules
from pipeline.curate.run import Curation, curate

__all__ = ["Curation", "Rules", "curate"]
