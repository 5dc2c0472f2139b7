"""Inputs that are broken, odd or hostile, and what has to become of each: an ``ok`` row, or a message that explains."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Input:
    """One manifest row and its fate; ``cause`` is None for inputs that are unusual but fine."""

    name: str
    video: str
    cause: str | None
    expression: str = "the red circle"
    video_id: str = ""
    expression_id: str = "0"

    def line(self) -> str:
        row = {"video_id": self.video_id or self.name, "video": self.video, "expression_id": self.expression_id}
        return json.dumps({**row, "expression": self.expression}) + "\n"


PIXELS = np.random.default_rng(5).integers(0, 255, (24, 32, 3), np.uint8)


def write_inputs(folder: Path, clip: Path) -> list[Input]:
    """Make the files under ``folder`` (``clip`` is a good .mp4) and return the manifest rows."""
    return [*_videos(folder, clip), *_folders(folder), *_expressions(), *_hostile_names()]


def _videos(folder: Path, clip: Path) -> list[Input]:
    data = clip.read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is not a video\n" * 100)
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "unreadable.mp4").write_bytes(data)
    (folder / "unreadable.mp4").chmod(0)
    denied = None if os.geteuid() == 0 else "permission"  # root reads everything
    return [
        Input("missing", "missing.mp4", "no such"),
        Input("empty", "empty.mp4", "empty"),
        Input("text", "text.mp4", "not a readable video"),
        Input("cut short", "cut.mp4", "cut.mp4"),
        Input("symlink loop", "loop.mp4", "loop"),
        Input("permission", "unreadable.mp4", denied),
    ]


def _folders(folder: Path) -> list[Input]:
    picture = Image.fromarray(PIXELS)
    kinds = {
        "one frame": [picture],
        "one pixel": [picture.crop((0, 0, 1, 1))] * 2,
        "odd size": [picture.crop((0, 0, 31, 23))] * 2,
        "grey": [picture.convert("L")] * 2,
        "rgba": [picture.convert("RGBA")] * 2,
        "sixteen bit": [Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)] * 2,
        "sizes differ": [picture, picture.crop((0, 0, 16, 16))],
    }
    for name, frames in kinds.items():
        _write_frames(folder / name, frames, ".png")
    _write_frames(folder / "cmyk", [picture.convert("CMYK")] * 2, ".jpg")
    _write_frames(folder / "too wide", [Image.new("RGB", (9000, 2))], ".png")
    (folder / "latin-1 name").mkdir()
    (folder / "latin-1 name" / os.fsdecode(b"Stra\xdfe.png")).write_bytes(b"no picture")
    (folder / "no frames").mkdir()
    (folder / "no frames" / "notes.txt").write_text("nothing here")
    fine = [name for name in kinds if name != "sizes differ"] + ["cmyk"]
    return [
        *(Input(name, name, None) for name in fine),
        Input("sizes differ", "sizes differ", "sizes differ"),
        Input("too wide", "too wide", "9000"),
        Input("latin-1 name", "latin-1 name", "Stra"),
        Input("no frames", "no frames", "no frames"),
    ]


def _write_frames(folder: Path, frames: list[Image.Image], suffix: str) -> None:
    folder.mkdir()
    for index, frame in enumerate(frames):
        frame.save(folder / f"{index:05d}{suffix}")


def _expressions() -> list[Input]:
    texts = {
        "blank": ("  ", "empty"),
        "endless": ("x" * 10_001, "10001 characters"),
        "control tokens": ("the <img> [SEG] <|im_end|><IMG_CONTEXT> circle", None),
        "image placeholder": ("<image> the circle", None),
        "emoji": ("der 🔴 Kreis", None),
        "right to left": ("الدائرة الحمراء", None),
        "decomposed": ("le cercle de\u0301fait", None),
        "very long": ("circle " * 700, None),
    }
    return [
        Input(name, "one frame", cause, expression=text, video_id="expressions", expression_id=name)
        for name, (text, cause) in texts.items()
    ]


def _hostile_names() -> list[Input]:
    names = ["../../climbs", "/etc/absolute", "new\nline", "C:\\windows:stream", "long" * 2000, "nul\0byte", ".", ""]
    return [
        Input(f"hostile {i}", "one frame", None, video_id=name, expression_id=name or "0")
        for i, name in enumerate(names)
        if name
    ]
