"""Versions of a mask dataset: what people corrected comes back as a new dataset, and two of them can be compared."""

from pipeline.versions.diff import Difference, diff
from pipeline.versions.edits import Action, Edit, EditFile, read_edits
from pipeline.versions.new_version import NewVersion, make_version

__all__ = ["Action", "Difference", "Edit", "EditFile", "NewVersion", "diff", "make_version", "read_edits"]
