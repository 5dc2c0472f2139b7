"""Compare two mask datasets: rows added, dropped, renamed, and masks that changed with their IoU."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.cli.terminal import print_line
from pipeline.settings import CheckedSettings, Option

EPILOG = """\
Rows are matched by video, expression and object. IoU is the mean over the frames that show the object in either.

exit codes: 0 compared, whatever the difference; 2 bad usage; 3 could not run
"""


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    first: Annotated[str, Option("A", positional=True)]
    """A mask dataset; path or URL."""
    second: Annotated[str, Option("B", positional=True)]
    """Another one, a later version of it for instance."""
    json: Annotated[str, Option("FILE")] | None = None
    """Write the whole difference to this file as well."""


def run(options: Options) -> int:
    """Compare, and print a line a difference."""
    from pipeline.versions import diff
    from pipeline.versions.edits import row_text

    found = diff(options.first, options.second)
    for row in found.dropped:
        print_line(f"dropped  {row_text(row)}")
    for row in found.added:
        print_line(f"added    {row_text(row)}")
    for row, old, new in found.renamed:
        print_line(f"renamed  {row_text(row)}: {old!r} -> {new!r}")
    for item in found.changed:
        status = "" if item.status[0] == item.status[1] else f", {item.status[0]} -> {item.status[1]}"
        print_line(f"changed  {row_text(item.row)}: IoU {item.iou:.3f}, {item.frames} frames{status}")
    print_line(
        f"{len(found.dropped)} dropped, {len(found.added)} added, {len(found.renamed)} renamed, "
        f"{len(found.changed)} changed, {found.same} the same"
    )
    if options.json is not None:
        Path(options.json).write_text(json.dumps(found.as_json(), indent=2, ensure_ascii=False), "utf-8")
    return 0
