"""Looking at a mask dataset: one HTML file for all of it, and overlay videos."""

from pipeline.report.build import ReportSummary, write_report
from pipeline.report.footage import Footage, find_footage
from pipeline.report.movies import write_movies
from pipeline.report.run_file import read_run
from pipeline.report.truth import read_truth

__all__ = ["Footage", "ReportSummary", "find_footage", "read_run", "read_truth", "write_movies", "write_report"]
