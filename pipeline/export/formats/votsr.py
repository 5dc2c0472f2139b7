"""VOTSr results, as ``vot pack`` makes them: one file of regions per sequence and prompt, and ``manifest.yml``.

All objects of an answer are united, and every frame has a region, the first one and empty ones included. Files are
binary, as the toolkit writes them; a prompt with a mask of too many runs for that gets a text file. The layout is that
of vot-toolkit 0.9.0.
"""

import datetime as dt
import platform
from collections.abc import Sequence

import yaml

from pipeline.errors import UsageError
from pipeline.evaluation.vot_regions import RegionError, from_binary, from_text, region_of, to_binary, to_text
from pipeline.export.answers import Answer, Answers, VideoAnswers
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.sinks import open_sink
from pipeline.export.submission import Submission
from pipeline.manifest.votsr import read_sequences
from pipeline.schema import VideoTask

STACK, TOOLKIT = "vots2026/referral", "0.9.0"
EXPERIMENT, MANIFEST = "baseline", "manifest.yml"
_KEYS = ("identifier", "configuration", "timestamp", "platform", "python", "toolkit", "stack")


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write the results to a zip file or folder; returns the number of prompts."""
    count = 0
    with open_sink(output) as sink:
        for video in answers.videos():
            for answer in video.answers:
                suffix, data = _file(video, answer, options)
                path = _path(video.video_id, answer.expression.expression_id)
                sink.write(f"{path}.{suffix}", data)
                count += 1
        sink.write(MANIFEST, yaml.safe_dump(_manifest(options.tracker), sort_keys=False).encode())
    return count


def _path(sequence: str, prompt: str) -> str:
    return f"{EXPERIMENT}/{sequence}/{sequence}_{prompt}"


def _file(video: VideoAnswers, answer: Answer, options: WriteOptions) -> tuple[str, bytes]:
    present = [any(track.masks[frame] for track in answer.tracks) for frame in range(len(video.frames))]
    regions = [region_of(video.mask(answer, frame) if here else None) for frame, here in enumerate(present)]
    if not options.text_masks:
        try:
            return "bin", to_binary(regions)
        except RegionError:  # too many runs
            pass
    return "txt", to_text(regions)


def _manifest(tracker: str) -> dict[str, object]:
    values: tuple[object, ...] = (
        tracker,
        {},
        dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        platform.platform(),
        platform.python_version(),
        TOOLKIT,
        STACK,
    )
    return dict(zip(_KEYS, values, strict=True))


def check(submission: str, tasks: Sequence[VideoTask]) -> list[str]:
    """List the faults of packed results.

    Raises:
        UsageError: There are none.
    """
    found = Submission(submission)
    faults = list(found.faults)
    expected: set[str] = set()
    for task in tasks:
        for expression in task.expressions:
            path = _path(task.video_id, expression.expression_id)
            files = [f"{path}.{suffix}" for suffix in ("txt", "bin")]
            expected.update(files)
            present = [file for file in files if file in found.names]
            what = f"sequence {task.video_id!r}, prompt {expression.text!r}"
            if not present:
                faults.append(f"{what}: {path}.bin is missing")
            elif len(present) == 2:
                faults.append(f"{what}: has a text and a binary file; the toolkit reads the first and packs the other")
            else:
                faults += [f"{what}: {fault}" for fault in _file_faults(found, present[0], len(task.frames or ()))]
    faults += _manifest_faults(found)
    faults += [f"{name!r}: not part of the results" for name in sorted(found.names - expected - {MANIFEST})]
    return faults


def _file_faults(found: Submission, name: str, frames: int) -> list[str]:
    data = found.read(name)
    try:
        regions = from_binary(data) if name.endswith(".bin") else from_text(data)
    except RegionError as error:
        return [f"{name!r}: {error}"]
    faults = []
    if frames and len(regions) != frames:
        faults.append(f"{name!r}: {len(regions)} regions for {frames} frames")
    others = sum(region.mask is None for region in regions)
    if others:
        faults.append(f"{name!r}: {others} regions are no masks; they count as empty")
    if name.endswith(".txt"):
        lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.startswith("m")]
        thin = sum(line.split(",")[2:3] == ["1"] for line in lines)
        if thin:
            faults.append(
                f"{name!r}: {thin} masks are one pixel wide, which the toolkit reads as empty from a text file"
            )
    return faults


def _manifest_faults(found: Submission) -> list[str]:
    if MANIFEST not in found.names:
        return [f"{MANIFEST} is missing"]
    try:
        content = yaml.safe_load(found.read(MANIFEST))
    except yaml.YAMLError:
        return [f"{MANIFEST}: not YAML"]
    if not isinstance(content, dict):
        return [f"{MANIFEST}: holds no keys"]
    return [f"{MANIFEST}: lacks {key!r}" for key in _KEYS if key not in content]


def read_manifest(manifest: str) -> list[VideoTask]:
    """The sequences of the benchmark's folder.

    Raises:
        UsageError: A sequence's name cannot be a file's, or it is no such folder.
    """
    tasks = read_sequences(manifest)
    if not any(task.expressions for task in tasks):
        raise UsageError(f"{manifest}: no sequence has a prompt")
    return tasks


FORMAT = Format(
    name="votsr",
    write=write,
    check=check,
    objects=("union", "first"),
    unit="prompts",
    read_manifest=read_manifest,
)
