"""WebDataset: tar files of frames with their masks, for streaming into training.

A sample is a frame: ``VIDEO/FRAME.jpg`` and ``VIDEO/FRAME.json``, whose ``objects`` are a list of expression, ids,
score and COCO run-length mask. A video's frames stand in order and in one shard. Dots in ids are escaped, since a
sample's key ends at the first dot of its file name.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.dataset.video_frames import VideoFrames
from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.frames import evenly_spread, jpeg, picture_name
from pipeline.export.names import NameStyle
from pipeline.export.sinks import finished_file
from pipeline.storage import join

SHARD_BYTES = 512 * 2**20
"""A shard is closed after the video with which it reaches this size."""


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write shards into a folder; returns the number of samples."""
    shards = _Shards(output, SHARD_BYTES)
    samples = 0
    with VideoFrames({}) as reader, shards.open():
        for video in answers.videos():
            indices = evenly_spread(video.frames, options.frames_per_video)
            frames = reader.read_at(video.video, [video.frames[i] for i in indices], (video.height, video.width))
            for index, frame in zip(indices, frames, strict=True):
                key = sample_key(video.video_id, video.frames[index])
                shards.add(f"{key}.jpg", jpeg(frame))
                shards.add(
                    f"{key}.json", json.dumps(_record(video, index), ensure_ascii=False).encode("utf-8", "replace")
                )
                samples += 1
            shards.end_video()
    return samples


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
    """Tar files one after the other; each appears when it is complete."""

    def __init__(self, output: str, shard_bytes: int) -> None:
        self._output = output
        self._shard_bytes = shard_bytes
        self._number = 0
        self._bytes = 0
        self._stack = ExitStack()
        self._tar: tarfile.TarFile | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Complete the last shard when the block ends well."""
        with self._stack:
            yield

    def add(self, name: str, data: bytes) -> None:
        if self._tar is None:
            path = self._stack.enter_context(finished_file(join(self._output, f"masks-{self._number:06d}.tar")))
            self._tar = self._stack.enter_context(tarfile.open(path, "w"))  # noqa: SIM115 - closed by the stack
        member = tarfile.TarInfo(name)  # no time and no owner, so that the same export is the same file
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        self._bytes += len(data)

    def end_video(self) -> None:
        if self._bytes >= self._shard_bytes:
            self._stack.close()
            self._tar, self._bytes = None, 0
            self._number += 1


FORMAT = Format(
    name="webdataset",
    write=write,
    objects=("all", "first", "union"),
    unit="samples",
    names=NameStyle.ESCAPED,
    picks_frames=True,
)
