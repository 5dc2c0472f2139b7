"""CVAT for images 1.1: an XML file in which every frame is an image, and every object on it a run-length mask.

CVAT has no tracks of masks. An object's masks on all frames share a ``group_id``, and attributes carry its ids and its
expression, so that ``sa2va-i import`` finds the row again. ``--output`` is the file, or a folder that gets
``annotations.xml`` and, with ``--with-frames``, the pictures under ``images/``.
"""

import re
from collections.abc import Iterator
from typing import IO
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.formats.common import Format, WriteOptions
from pipeline.export.frames import FrameWriter, picture_name
from pipeline.export.names import NameStyle, escaped
from pipeline.export.sinks import finished_file
from pipeline.masks import cut_out, decode_mask
from pipeline.schema import Rle
from pipeline.storage import join

LABEL = "object"
ATTRIBUTES = ("expression", "expression_id", "object_id")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(answers: Answers, output: str, options: WriteOptions) -> int:
    """Write the file, and pictures if they are wanted; returns the number of masks."""
    is_file = output.lower().endswith(".xml")
    location = output if is_file else join(output, "annotations.xml")
    with (
        finished_file(location) as path,
        path.open("w", encoding="utf-8", newline="\n") as file,
        FrameWriter(answers, None if is_file else output, options.with_frames) as pictures,
    ):
        file.write(_HEAD)
        writer = _Writer(file)
        for video in answers.videos():
            if pictures.write(video):
                writer.add(video)
        file.write("</annotations>\n")
    return writer.masks


class _Writer:
    """Counts images, objects and masks over all videos."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._images = 0
        self._groups = 0
        self.masks = 0

    def add(self, video: VideoAnswers) -> None:
        tracks = video.tracks()
        for index, frame in enumerate(video.frames):
            name = quoteattr(xml_text(picture_name(video.video_id, frame)))
            self._file.write(f'<image id="{self._images}" name={name} width="{video.width}" height="{video.height}">\n')
            self._images += 1
            for number, (expression, track) in enumerate(tracks, start=1):
                rle = track.masks[index]
                if rle is None:
                    continue
                values = (expression.text, escaped(expression.expression_id), str(track.object_id))
                attributes = "".join(
                    f'<attribute name="{attribute}">{escape(xml_text(value))}</attribute>'
                    for attribute, value in zip(ATTRIBUTES, values, strict=True)
                )
                self._file.write(f"<mask {_shape(rle, self._groups + number)}>{attributes}</mask>\n")
                self.masks += 1
            self._file.write("</image>\n")
        self._groups += len(tracks)


def _shape(rle: Rle, group: int) -> str:
    """A mask's attributes in XML."""
    left, top, inside = cut_out(decode_mask(rle))
    height, width = inside.shape
    runs = ", ".join(map(str, row_runs(inside)))
    return (
        f'label="{LABEL}" source="file" occluded="0" rle="{runs}" left="{left}" top="{top}" width="{width}" '
        f'height="{height}" z_order="0" group_id="{group}"'
    )


def row_runs(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask, bool ``[H, W]``, row by row, zeros first."""
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def xml_text(text: str) -> str:
    """Text without characters that XML cannot hold."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _label_lines() -> Iterator[str]:
    for name in ATTRIBUTES:
        yield (
            f"<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
        )


_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    "<meta><task><mode>annotation</mode><labels><label>"
    f"<name>{LABEL}</name><type>mask</type><attributes>{''.join(_label_lines())}</attributes>"
    "</label></labels></task></meta>\n"
)

FORMAT = Format(
    name="cvat", write=write, objects=("all",), unit="masks", names=NameStyle.ESCAPED, comes_back=True, has_frames=True
)
