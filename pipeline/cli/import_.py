"""Take corrections back: a mask dataset and what people changed become a new version of it.

Nothing of the old one is changed. Started again with the same command, an import goes on where it was.
"""

from dataclasses import dataclass
from typing import Annotated

from pipeline.cli.terminal import print_line
from pipeline.settings import CheckedSettings, Option

EPILOG = """\
An edit file is JSON Lines; a line names video_id, expression_id, maybe object_id, and an action:
  keep       accepted by a person; nothing else changes       drop     leave the row out
  absent     the expression names nothing in this video       rename   "expression": the new text
  frames     "frames": [FIRST, LAST], there only from FIRST to LAST
  masks      "masks": {FRAME: run-length mask or null}, in place of what is there
  split      "at": FRAME, from which on it is another object
  merge      "with": [OBJECT, ...], united with this one
  add        "masks", another object; with "expression", of a new expression
  undecided  nothing
"comment" and "source" (default: person) are kept. `curate --for-review` and the report write such files.

exit codes: 0 done; 2 bad usage, for instance an edit that does not fit the dataset (nothing is written then); 3 could
not run; 130 interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    predictions: Annotated[str, Option("OUT")]
    """The mask dataset that was corrected; path or URL."""
    edits: Annotated[str, Option("FILE")]
    """The edit file, see below."""
    output: Annotated[str, Option("OUT2")]
    """The new version; path or URL."""


def run(options: Options) -> int:
    """Write the new version."""
    from pipeline.storage import scrub
    from pipeline.versions import make_version, read_edits

    version = make_version(options.predictions, read_edits(options.edits), options.output)
    done = ", ".join(f"{count} {action}" for action, count in version.edits.items()) or "nothing to change"
    print_line(f"edits: {done}" + (f"; {version.undecided} lines are undecided" if version.undecided else ""))
    print_line(
        f"{scrub(options.output)}: {version.counts.rows} rows of {version.counts.videos} videos "
        f"(parent {version.parent}: {version.rows_before} rows)"
    )
    return 0
