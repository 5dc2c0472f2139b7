from types import SimpleNamespace

import pytest
from report_datasets import dataset_of_clips

from pipeline.report import find_video_frames, read_run, read_truth, write_movies, write_report
from pipeline.report.movies import movie_name


@pytest.fixture(scope="session")
def reported(clips, tmp_path_factory):
    """A dataset of drawn clips, its report with ground truth, and its overlay videos."""
    folder = tmp_path_factory.mktemp("report")
    dataset = dataset_of_clips(folder / "dataset", clips)
    page, movies = folder / "out" / "report.html", folder / "movies"
    page.parent.mkdir()
    with find_video_frames(read_run(dataset)) as video_frames:
        problems = write_movies(dataset, str(movies), video_frames, frames_per_second=6)
        links = {key: str(movies / movie_name(key)) for key in problems}
        truth = read_truth("mevis", str(clips), dataset, workers=1)
        summary = write_report(dataset, str(page), video_frames, truth=truth, movies=links)
    return SimpleNamespace(
        dataset=dataset, page=page, movies=movies, problems=problems, truth=truth, summary=summary, clips=clips
    )
