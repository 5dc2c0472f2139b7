"""Looking at a mask dataset: one HTML file for all of it, and overlay videos."""

from pipeline.dataset.run_file import read_run
from pipeline.dataset.video_frames import VideoFrames, find_video_frames
from pipeline.report.build import ReportSummary, write_report
from pipeline.report.movies import write_movies
from pipeline.report.truth import read_truth

__all__ = [
    "ReportSummary",
    "VideoFrames",
    "find_video_frames",
    "read_run",
    "read_truth",
    "write_movies",
    "write_report",
]
