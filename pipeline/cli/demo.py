"""Try everything: annotate three short clips that are included, score them, and write a picture and a report.

Uses the small model that is included, on this machine's processor; takes about a minute.
"""

import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pipeline.cli.display import open_display
from pipeline.cli.terminal import print_line
from pipeline.engine import cluster
from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, Option

if TYPE_CHECKING:
    from pipeline.report import VideoFrames

EPILOG = "exit codes: 0 done; 1 done, but something failed; 2 bad usage; 3 could not run\n"

REJECT_BELOW = 0.5
"""Expressions with a lower ``presence`` count as not there, as ``--reject-below 0.5`` makes it elsewhere."""

_PARTS = ("clips", "dataset", "contact_sheet.png", "report.html")


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    output: Annotated[str, Option("DIR")] = "demo-output"
    """Folder to write; an earlier demo's is overwritten."""


def run(options: Options) -> int:
    """Annotate, show, score."""
    folder = Path(options.output)
    _clear(folder)
    cluster.prepare("local")
    from pipeline.config import RunConfig
    from pipeline.dataset.reader import MaskDataset
    from pipeline.demo import copy_clips
    from pipeline.report import find_video_frames, read_run
    from pipeline.run import annotate

    dataset = folder / "dataset"
    manifest = copy_clips(folder / "clips")
    config = RunConfig(manifest=str(manifest), model="nano", output=str(dataset))
    with open_display() as display:
        summary = annotate(config, address="local", report_line=display.report_line, on_progress=display.on_progress)
    rows = sorted(MaskDataset(str(dataset)).iter_rows(), key=lambda row: (row["video_id"], row["expression_id"]))
    _print_table(rows)
    with find_video_frames(read_run(str(dataset))) as video_frames:
        _draw_sheet(rows, manifest.parent, folder / "contact_sheet.png")
        _score_and_report(folder, video_frames)
    print_line(f"mask dataset:  {dataset}  (README.md there says how to load it)")
    print_line(f"contact sheet: {folder / 'contact_sheet.png'}")
    print_line(f"report:        {folder / 'report.html'}  (open it in a browser)")
    return 1 if summary.counts.failed else 0


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left; refuse a folder that holds anything else."""
    if not folder.exists():
        return
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - set(_PARTS):
        raise UsageError(f"{folder}: exists and is not the output of a demo; name another --output")
    shutil.rmtree(folder)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("video", "expression", "answer", "frames with a mask", "mean area", "score", "presence")
    for row in rows:
        areas = [area for area in row["areas"] or [] if area]
        table.add_row(
            row["video_id"],
            row["expression"],
            row["answer"],
            f"{len(areas)} of {len(row['frames'])}",
            f"{sum(areas) / len(areas):.0f} px" if areas else "-",
            f"{row['score'] or 0:.2f}",
            f"{row['presence']:.2f}",
        )
    Console(width=120).print(table)
    for expression in dict.fromkeys(row["expression"] for row in rows if row["presence"] < REJECT_BELOW):
        print_line(f"rejected, presence below {REJECT_BELOW}: {expression}")


def _draw_sheet(rows: list[dict[str, Any]], clips: Path, target: Path) -> None:
    from pipeline.report.contact_sheet import contact_sheet, masked_frames
    from pipeline.video.source import open_video

    strips = []
    for (video_id, _), group in groupby(rows, key=lambda row: (row["video_id"], row["expression_id"])):
        objects = list(group)
        with open_video(str(clips / f"{video_id}.mp4")) as source:
            verdict = " (rejected)" if objects[0]["presence"] < REJECT_BELOW else ""
            strips.append((f"{video_id}: {objects[0]['expression']}{verdict}", masked_frames(source, objects)))
    contact_sheet(strips).save(target)


def _score_and_report(folder: Path, video_frames: "VideoFrames") -> None:
    from pipeline.report import read_truth, write_report

    dataset = str(folder / "dataset")
    truth = read_truth("mevis", str(folder / "clips"), dataset, workers=1, reject_below=REJECT_BELOW)
    values = {name: f"{100 * value:.1f}" for name, value in truth.headline.items() if value is not None}
    print_line("against the drawn ground truth: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    write_report(dataset, str(folder / "report.html"), video_frames, truth=truth, reject_below=REJECT_BELOW)
