"""Take corrections back: a mask dataset and what people changed become a new version of it.

Nothing of the old one is changed. Started again with the same command, an import goes on where it was.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pipeline.cli.terminal import print_line
from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, OneOf, Option

if TYPE_CHECKING:
    from pipeline.versions import Edit, EditFile

FORMATS = ("cvat", "label-studio", "fiftyone", "coco", "youtube-vis", "png")
"""Tools whose files can be taken back; their readers are in ``pipeline.versions.readers``."""

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

--format and --annotations compare what a tool wrote with the dataset: frames that the file covers get its masks, tracks
that it holds nothing of any more are dropped, changed expressions renamed, new masks added; all else stays as it is.

exit codes: 0 done; 2 bad usage, for instance an edit that does not fit the dataset (nothing is written then); 3 could
not run; 130 interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    predictions: Annotated[str, Option("OUT")]
    """The mask dataset that was corrected; path or URL."""
    edits: Annotated[str, Option("FILE")] | None = None
    """An edit file, see below."""
    format: Annotated[str, OneOf(FORMATS)] | None = None
    """Instead of an edit file: the tool whose --annotations are to be taken back."""
    annotations: Annotated[str, Option("FILE_OR_DIR")] | None = None
    """What the tool wrote, of what `export --format` of the same name gave it; path or URL."""
    keep_missing: bool = False
    """Leave tracks as they are that the tool's file holds nothing of (default: they were removed)."""
    output: Annotated[str, Option("OUT2")]
    """The new version; path or URL."""
    dry_run: bool = False
    """Write no version, print the edits that would be made."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.edits is None) == (self.format is None) or (self.format is None) != (self.annotations is None):
            raise UsageError("give either --edits, or --format with --annotations")


def run(options: Options) -> int:
    """Write the new version."""
    from pipeline.storage import scrub
    from pipeline.versions import make_version

    tool = options.format or "edits"
    edits = _edits(options)
    if options.dry_run:
        for edit in edits.edits:
            print_line(edit_text(edit))
        print_line(f"{len(edits.edits)} edits; nothing was written")
        return 0
    version = make_version(options.predictions, edits, options.output, tool=tool)
    done = ", ".join(f"{count} {action}" for action, count in version.edits.items()) or "nothing to change"
    print_line(f"edits: {done}" + (f"; {version.undecided} lines are undecided" if version.undecided else ""))
    if version.verdicts:
        print_line(version.verdicts)
    print_line(
        f"{scrub(options.output)}: {version.counts.rows} rows of {version.counts.videos} videos "
        f"(parent {version.parent}: {version.rows_before} rows)"
    )
    return 0


def _edits(options: Options) -> "EditFile":
    from pipeline.versions import read_edits
    from pipeline.versions.annotations import edits_of
    from pipeline.versions.readers import reader_of

    if options.edits is not None:
        return read_edits(options.edits)
    name = str(options.format)
    annotations = reader_of(name).read(str(options.annotations))
    return edits_of(options.predictions, annotations, tool=name, keep_missing=options.keep_missing)


def edit_text(edit: "Edit") -> str:
    """An edit as one line for people."""
    rows = f"object {edit.object_id}" if edit.object_id is not None else "all objects"
    what = f": {len(edit.masks)} frames" if edit.masks else f": {edit.expression!r}" if edit.expression else ""
    return f"{edit.action:8} video {edit.video_id!r}, expression {edit.expression_id!r}, {rows}{what}"
