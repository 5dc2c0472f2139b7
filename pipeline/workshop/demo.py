"""Draw a few clips, annotate them with the small model through Ray, and show what came out: table, picture, report."""

import shutil
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.options import Parser
from pipeline.cli.program import run_program
from pipeline.engine import cluster

PROGRAM = "python -m pipeline.workshop.demo"


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("video", "expression", "answer", "frames with a mask", "mean area", "score")
    for row in rows:
        seen = [area for area in row["areas"] if area]
        table.add_row(
            row["video_id"],
            row["expression"],
            row["answer"],
            f"{len(seen)} of {len(row['frames'])}",
            f"{sum(seen) / len(seen):.0f} px" if seen else "-",
            f"{row['score']:.2f}",
        )
    Console(width=120).print(table)


def _draw_sheet(rows: list[dict[str, Any]], videos: dict[str, str], target: Path) -> None:
    from pipeline.report.contact_sheet import contact_sheet, masked_frames
    from pipeline.video.source import open_video

    strips = []
    for (video_id, _), group in groupby(rows, key=lambda row: (row["video_id"], row["expression_id"])):
        objects = list(group)
        with open_video(videos[video_id]) as source:
            strips.append((f"{video_id}: {objects[0]['expression']}", masked_frames(source, objects)))
    contact_sheet(strips).save(target)


def main() -> int:
    """Run the demo."""
    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder to (over)write")
    parser.add_argument("--clips", type=int, default=4)
    args = parser.parse_args()
    cluster.prepare()
    from pipeline.config import RunConfig
    from pipeline.dataset.reader import MaskDataset
    from pipeline.manifest import read_manifest
    from pipeline.run import annotate
    from pipeline.workshop.shapes.demo import write_demo

    clips, dataset = args.output / "clips", args.output / "dataset"
    for folder in (clips, dataset):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"drawing {args.clips} clips of moving shapes into {clips}")
    manifest = write_demo(clips, num_videos=args.clips)
    config = RunConfig(manifest=str(manifest), model="nano", output=str(dataset))
    summary = annotate(config, say=lambda line: print(line, flush=True))
    rows = list(MaskDataset(str(dataset)).iter_rows())
    _show(rows)
    videos = {task.video_id: task.video for task in read_manifest(str(manifest))}
    _draw_sheet(rows, videos, args.output / "contact_sheet.png")
    report = _score_and_report(clips, dataset, args.output / "report.html")
    print(f"mask dataset:  {dataset}  (README.md there says how to load it)")
    print(f"contact sheet: {args.output / 'contact_sheet.png'}")
    print(f"report:        {report}  (open it in a browser)")
    return 1 if summary.counts.failed else 0


def _score_and_report(clips: Path, dataset: Path, target: Path) -> Path:
    from pipeline.report import find_footage, read_run, read_truth, write_report

    truth = read_truth("mevis", str(clips), str(dataset), workers=1)
    values = {name: f"{100 * value:.1f}" for name, value in truth.headline.items() if value is not None}
    print("against the drawn ground truth: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    with find_footage(read_run(str(dataset))) as footage:
        write_report(str(dataset), str(target), footage, truth=truth)
    return target


if __name__ == "__main__":
    sys.exit(run_program(PROGRAM, main))
