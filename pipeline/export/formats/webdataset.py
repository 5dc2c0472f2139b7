"""WebDataset: tar files of frames with their masks, for streaming into training.

A sample is a frame: ``VIDEO/FRAME.jpg`` and ``VIDEO/FRAME.json``, whose ``objects`` are a list of expression, ids,
score and COCO run-length mask. A video's frames stand in order and in one shard. Dots in ids are escaped, since a
sample's key ends at the first dot of its file name.
"""

import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from pipeline.dataset.video_frames import VideoFrames
from pipeline.errors import VideoError
from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.frames import evenly_spread, jpeg, picture_name
from pipeline.export.names import NameStyle
from pipeline.export.sinks import finished_file
from pipeline.storage import join

SHARD_BYTES = 512 * 2**20
"""A shard is closed after the video with which it reaches this size."""
_VIDEO_BYTES_IN_MEMORY = 64 * 2**20


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write shards into a folder; returns the number of samples."""
    shards = _Shards(output, SHARD_BYTES)
    samples = 0
    with VideoFrames({}) as reader, shards.open():
        for video in answers.videos():
            indices = evenly_spread(video.frames, options.frames_per_video)
            try:
                _add_video(shards, reader, video, indices)
            except VideoError as error:
                shards.discard_video()
                answers.leave_out(video, error)
            else:
                shards.end_video()
                samples += len(indices)
    return samples


def _add_video(shards: "_Shards", reader: VideoFrames, video: VideoAnswers, indices: list[int]) -> None:
    frames = reader.read_at(video.video, [video.frames[i] for i in indices], (video.height, video.width))
    for index, frame in zip(indices, frames, strict=True):
        key = sample_key(video.video_id, video.frames[index])
        record = json.dumps(_record(video, index), ensure_ascii=False)
        shards.add(f"{key}.jpg", jpeg(frame))
        shards.add(f"{key}.json", record.encode("utf-8", "replace"))


def sample_key(video_id: str, frame: str) -> str:
    """Path of a sample without its suffixes.

    Example:
        >>> sample_key("clip.v2", "00000")
        'clip%2Ev2/00000'
    """
    return picture_name(video_id, frame).removesuffix(".jpg").replace(".", "%2E")


def _record(video: VideoAnswers, index: int) -> dict[str, object]:
    return {
        "video_id": video.video_id,
        "frame": video.frames[index],
        "index": index,
        "height": video.height,
        "width": video.width,
        **video.terms(),
        "objects": [
            {
                "expression_id": answer.expression.expression_id,
                "expression": answer.expression.text,
                "object_id": track.object_id,
                "score": track.score,
                "mask": track.masks[index],
            }
            for answer in video.answers
            for track in answer.tracks
        ],
    }


class _Shards:
    """Tar files one after the other; each appears when it is complete.

    Members are written without :mod:`tarfile`'s list of them, so that memory does not grow. Those of a video wait in a
    file of their own until it is complete.
    """

    def __init__(self, output: str, shard_bytes: int) -> None:
        self._output = output
        self._shard_bytes = shard_bytes
        self._number = 0
        self._stack = ExitStack()
        self._shard: IO[bytes] | None = None
        self._video = tempfile.SpooledTemporaryFile[bytes](max_size=_VIDEO_BYTES_IN_MEMORY)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Complete the last shard when the block ends well."""
        with self._video, self._stack:
            yield
            self._finish()

    def add(self, name: str, data: bytes) -> None:
        """Add a member to the current video."""
        member = tarfile.TarInfo(name)  # no time and no owner, so that the same export is the same file
        member.size = len(data)
        self._video.write(member.tobuf(tarfile.PAX_FORMAT))
        self._video.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))

    def end_video(self) -> None:
        """Put the current video into a shard."""
        if self._shard is None:
            path = self._stack.enter_context(finished_file(join(self._output, f"masks-{self._number:06d}.tar")))
            self._shard = self._stack.enter_context(path.open("wb"))
        self._video.seek(0)
        shutil.copyfileobj(self._video, self._shard)
        self.discard_video()
        if self._shard.tell() >= self._shard_bytes:
            self._finish()

    def discard_video(self) -> None:
        """Forget the current video."""
        self._video.seek(0)
        self._video.truncate()

    def _finish(self) -> None:
        """Complete the shard that is open, if there is one."""
        if self._shard is None:
            return
        end = bytes(2 * tarfile.BLOCKSIZE)
        self._shard.write(end + bytes(-(self._shard.tell() + len(end)) % tarfile.RECORDSIZE))
        self._stack.close()
        self._shard = None
        self._number += 1


FORMAT = Format(
    name="webdataset",
    write=write,
    objects=("all", "first", "union"),
    unit="samples",
    names=NameStyle.ESCAPED,
    picks_frames=True,
)
