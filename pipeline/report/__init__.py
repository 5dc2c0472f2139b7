"""Looking at a mask dataset: one HTML file for all of it, and overlay videos."""

from pipeline.report.build import ReportSummary, write_report
from pipeline.report.movies import write_movies
from pipeline.report.run_file import read_run
from pipeline.report.truth import read_truth
from pipeline.report.video_frames import VideoFrames, find_video_frames

__all__ = [
    "ReportSummary",
    "VideoFrames",
    "find_video_frames",
    "read_run",
    "read_truth",
    "write_movies",
    "write_report",
]
