"""Checking a submission of pictures against the manifest, before a server or a silent scorer does."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.pictures import PictureError, decode_picture, open_picture
from pipeline.export.expected import source_size
from pipeline.export.names import NameStyle, unusable_names, written_name, written_video
from pipeline.export.submission import Submission
from pipeline.schema import VideoTask

PathOf = Callable[[str, str, str], str]
Values = NDArray[np.integer]

_MODES = {"1": "one bit", "L": "grey", "P": "palette", "RGB": "colour", "RGBA": "colour with alpha"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a submission of pictures should look like."""

    path_of: PathOf
    """Where the picture of (video, group, frame) lies; a group is an expression, or an annotator."""
    groups_of: Callable[[VideoTask], list[str]]
    mode: str
    """Pillow's name of the pixel format."""
    value_fault: Callable[[VideoTask, Values], str | None]
    """What is wrong with a picture's values."""

    def folder_of(self, task: VideoTask, group: str) -> str:
        """Where a group's pictures lie."""
        return self.path_of(task.video_id, group, "").rpartition("/")[0]


def check_pictures(
    location: str,
    tasks: Sequence[VideoTask],
    path_of: PathOf,
    foregrounds: Collection[int] = (255,),
    names: NameStyle = NameStyle.FOLDERS,
) -> list[str]:
    """List the faults of a submission of one picture per expression and frame.

    Args:
        location: A zip file or a folder.
        tasks: What is expected.
        path_of: Where the picture of (video, expression, frame) should lie.
        foregrounds: The values the foreground may have; one of them in one picture.
        names: What the format makes of ids and frame names.

    Returns:
        One line per fault; none when the submission is right.

    Raises:
        UsageError: There is no submission, or the manifest cannot be submitted.
    """

    def value_fault(_task: VideoTask, values: Values) -> str | None:
        found = [int(value) for value in np.unique(values) if value]
        if len(found) > 1:
            return f"{len(found)} grey values beside 0; a mask has one, {max(foregrounds)}"
        if found and found[0] not in foregrounds:
            return f"the foreground is {found[0]}, expected {' or '.join(map(str, foregrounds))}"
        return None

    writable, faults = _writable(tasks, names)
    layout = Layout(
        path_of=lambda video_id, expression_id, frame: path_of(
            written_video(video_id, names), written_name(expression_id, names), written_name(frame, names)
        ),
        groups_of=lambda task: [expression.expression_id for expression in task.expressions],
        mode="L",
        value_fault=value_fault,
    )
    return faults + _check(Submission(location), writable, layout)


def check_labels(
    location: str,
    tasks: Sequence[VideoTask],
    path_of: Callable[[int, str, str], str],
    annotators: int,
    objects: Mapping[str, int],
) -> list[str]:
    """List the faults of a submission of merged pictures, one folder per annotator.

    Args:
        location: A zip file or a folder.
        tasks: What is expected.
        path_of: Where the picture of (annotator, video, frame) should lie.
        annotators: How many annotators there are.
        objects: The number of objects per video, the highest label allowed.
    """

    def value_fault(task: VideoTask, values: Values) -> str | None:
        highest = int(values.max(initial=0))
        if highest > objects[task.video_id]:
            return f"has the label {highest}, but the video has {objects[task.video_id]} objects"
        return None

    layout = Layout(
        path_of=lambda video_id, annotator, frame: path_of(int(annotator), video_id, frame),
        groups_of=lambda _task: [str(annotator) for annotator in range(annotators)],
        mode="P",
        value_fault=value_fault,
    )
    writable, faults = _writable(tasks, NameStyle.FOLDERS)
    return faults + _check(Submission(location), writable, layout)


def _writable(tasks: Sequence[VideoTask], names: NameStyle) -> tuple[list[VideoTask], list[str]]:
    """The tasks without what no submission can hold because of a name, and a fault for each such expression."""
    writable, faults = [], []
    for task in tasks:
        problems = unusable_names(task, task.frames or (), names)
        faults += [f"video {task.video_id!r}, expression {key!r}: {why}" for key, why in problems.items()]
        kept = tuple(item for item in task.expressions if item.expression_id not in problems)
        if kept or not problems:
            writable.append(replace(task, expressions=kept))
    return writable, faults


def _check(submission: Submission, tasks: Sequence[VideoTask], layout: Layout) -> list[str]:
    files, faults = _rooted(submission.names, tasks, layout)
    folders: dict[str, set[str]] = defaultdict(set)
    for path in files:
        folder, _, name = path.rpartition("/")
        folders[folder].add(name)
    expected: set[str] = set()
    for task in tasks:
        paths, found_faults = _expected_paths(task, layout, folders)
        faults += found_faults
        faults += _picture_faults(task, {path: files[path] for path in paths if path in files}, submission, layout)
        expected.update(paths)
    faults += [f"{files[path]!r}: not part of the submission" for path in sorted(files.keys() - expected)]
    return submission.faults + faults


def _rooted(names: set[str], tasks: Sequence[VideoTask], layout: Layout) -> tuple[dict[str, str], list[str]]:
    """Where each file should lie -> where it lies; one folder too many or too few on top of all is one fault."""
    wanted = {layout.folder_of(task, group) for task in tasks for group in layout.groups_of(task)}

    def fits(paths: Collection[str]) -> bool:
        return any(path.rpartition("/")[0] in wanted for path in paths)

    as_they_lie = {name: name for name in names}
    if not names:
        return {}, ["the submission is empty"]
    if fits(names):
        return as_they_lie, []
    for top in sorted({name.partition("/")[0] for name in names if "/" in name}):
        inside = {name.removeprefix(f"{top}/"): name for name in names}
        if fits(inside):
            return inside, [f"wrong root: the folder {top!r} should not be there; move what is in it to the top level"]
    root = min(wanted).partition("/")[0] if wanted else ""
    below = {f"{root}/{name}": name for name in names}
    if fits(below):
        return below, [f"wrong root: everything must lie in the folder {root!r}"]
    return as_they_lie, [f"wrong root: expected folders such as {min(wanted)!r}, found {min(names)!r}"]


def _expected_paths(task: VideoTask, layout: Layout, folders: Mapping[str, set[str]]) -> tuple[list[str], list[str]]:
    """Every path a video should have, and a fault for each that is missing; whole folders are one fault."""
    groups = layout.groups_of(task)
    own = {group: folders.get(layout.folder_of(task, group), set()) for group in groups}
    frames = task.frames or sorted({name.removesuffix(".png") for names in own.values() for name in names})
    paths = [layout.path_of(task.video_id, group, frame) for group in groups for frame in frames]
    if groups and not any(own.values()):
        return paths, [f"video {task.video_id!r} is missing"]
    faults = []
    for group, names in own.items():
        absent = [frame for frame in frames if _file_name(task, layout, group, frame) not in names]
        if len(absent) == len(frames):
            faults.append(f"{layout.folder_of(task, group)!r} is missing, with all its {len(frames)} frames")
        else:
            faults += [f"{layout.path_of(task.video_id, group, frame)!r} is missing" for frame in absent]
    return paths, faults


def _file_name(task: VideoTask, layout: Layout, group: str, frame: str) -> str:
    return layout.path_of(task.video_id, group, frame).rpartition("/")[2]


def _picture_faults(task: VideoTask, files: Mapping[str, str], submission: Submission, layout: Layout) -> list[str]:
    """Look at every picture of one video."""
    faults: list[str] = []
    sizes: dict[str, tuple[int, int]] = {}
    for name in files.values():
        try:
            data = submission.read(name)
            picture = open_picture(data, name)
            sizes[name] = (picture.height, picture.width)
            if picture.format != "PNG":
                faults.append(f"{name!r}: is {picture.format}, expected PNG")
            elif picture.mode != layout.mode:
                kinds = [_MODES.get(mode, mode) for mode in (picture.mode, layout.mode)]
                faults.append(f"{name!r}: is {kinds[0]} (mode {picture.mode}), expected {kinds[1]} ({layout.mode})")
            else:
                fault = layout.value_fault(task, decode_picture(data, name))
                faults += [f"{name!r}: {fault}"] if fault else []
        except PictureError as error:
            faults.append(str(error))
    if sizes:
        # The pictures themselves are the reference where the video's own are not at hand.
        height, width = source_size(task) or Counter(sizes.values()).most_common(1)[0][0]
        faults += [
            f"{name!r}: {size[1]}x{size[0]} pixels, expected {width}x{height}"
            for name, size in sizes.items()
            if size != (height, width)
        ]
    return faults
