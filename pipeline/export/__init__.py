"""From a mask dataset to a benchmark's submission, and the check of a submission."""

from pipeline.export.formats import FORMATS
from pipeline.export.plan import IncompleteDatasetError
from pipeline.export.run import ExportResult, check, export

__all__ = ["FORMATS", "ExportResult", "IncompleteDatasetError", "check", "export"]
