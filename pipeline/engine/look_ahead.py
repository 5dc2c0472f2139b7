"""The plan in windows: as far as it looks ahead, what takes longest starts first and, where that pays, in parts."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from pipeline.config import RunConfig, splitting
from pipeline.dataset.layout import part_of
from pipeline.engine.count import count_frames
from pipeline.engine.feed import Feed
from pipeline.engine.schedule import make_schedule
from pipeline.manifest.plan import Plan, Window
from pipeline.schema import VideoTask

LEAST_VIDEOS = 2_000
"""Videos of a window: seconds of work for a thousand GPUs, a few megabytes of the driver."""
VIDEOS_OF_A_WORKER = 4


class LookAhead:
    """Makes the windows of a run as they are needed.

    Args:
        work: What is to do.
        config: Of the run.
        segmenters: Workers that propagate; one takes the videos as the manifest has them.
        expect: Is told the commits of each part beside those of whole videos.
        report_line: Gets a line where videos are annotated in parts.
    """

    def __init__(
        self,
        work: Plan,
        config: RunConfig,
        *,
        segmenters: int,
        expect: Callable[[Mapping[int, int]], None],
        report_line: Callable[[str], None],
    ) -> None:
        self._work = work
        self._config = config
        self._segmenters = segmenters
        self._expect = expect
        self._report_line = report_line
        # objects are compared across all expressions of a video when tracks are merged
        self._split = "off" if config.merge_tracks is not None else splitting(config.split_expressions)
        self._parts_left: Counter[str] = Counter()
        """Of the videos in work that are annotated in parts."""
        self._videos_left = work.size().videos

    def feed(self) -> Feed:
        """All windows, each made when it is handed out."""
        videos = max(LEAST_VIDEOS, VIDEOS_OF_A_WORKER * self._segmenters)
        return Feed([partial(self._tasks_of, window) for window in self._work.windows(videos)], ahead=videos)

    def completes(self, video_id: str) -> bool:
        """Take note of a result; whether it is the video's last one."""
        if video_id not in self._parts_left:
            return True
        self._parts_left[video_id] -= 1
        if self._parts_left[video_id]:
            return False
        del self._parts_left[video_id]
        return True

    def _tasks_of(self, window: Window) -> list[VideoTask]:
        tasks = self._work.tasks(window)
        share = window.videos / self._videos_left
        self._videos_left -= window.videos
        many = self._segmenters > 1
        frames = count_frames(tasks, self._config) if many else [None] * len(tasks)
        schedule = make_schedule(tasks, frames, segmenters=self._segmenters, split=self._split, share=share)
        if schedule.split:
            self._report_line(f"{len(schedule.split)} long videos are annotated in parts")
            pieces = Counter(task.video_id for task in schedule.tasks if task.video_id in schedule.split)
            self._parts_left += pieces
            more: Counter[int] = Counter()
            for video_id, count in pieces.items():
                more[part_of(video_id, self._work.parts)] += count - 1
            self._expect(more)
        return schedule.tasks if many or schedule.split else tasks
