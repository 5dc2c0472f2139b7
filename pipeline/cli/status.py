"""Say how far an annotation run is: done, failed, missing, rate and time left, from its output alone.

No cluster is asked, so this works from any machine that reaches the storage, and when the cluster is gone.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated

from pipeline.cli.terminal import print_line
from pipeline.errors import PipelineError
from pipeline.settings import CheckedSettings, Option

EPILOG = """\
exit codes: 0 finished, nothing failed or missing; 1 something is failed, missing or still to come; 2 bad usage, or not
the output of a run; 3 could not read it, or some of it is damaged or gone
"""


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    output: Annotated[str, Option("OUT", positional=True)]
    """Dataset directory of the run; path or URL."""
    manifest: Annotated[str, Option("M")] | None = None
    """What should be in it (default: what run.json names)."""
    videos: Annotated[str, Option("ROOT")] | None = None
    """As in the run; needed for some benchmarks' manifests."""
    verify: bool = False
    """Read all masks, to find damage (done anyway up to 1 GiB, 64 MiB on a remote storage)."""
    json: bool = False
    """One JSON object instead of text."""


def run(options: Options) -> int:
    """Print the status."""
    from pipeline.status import read_status

    status = read_status(options.output, manifest=options.manifest, videos=options.videos, verify=options.verify)
    if options.json:
        print(json.dumps(dataclasses.asdict(status), indent=2))
    else:
        for line in str(status).split("\n"):
            print_line(line)
    if status.is_damaged:
        return PipelineError.exit_code
    return 0 if status.is_all_well else 1
