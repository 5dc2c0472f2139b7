#!/usr/bin/env python3
"""How far an annotation run is: done, failed, missing, rate and time left, from its output alone.

No cluster is asked, so this works from any machine that reaches the storage, and when the cluster is gone.
"""

import argparse
import dataclasses
import json
import logging
import sys

from pipeline import cli

EPILOG = """\
exit codes: 0 finished, nothing failed or missing; 1 something is failed, missing or still to come; 2 bad usage, or not
the output of a run; 3 could not read it
"""


def main() -> int:
    """Run the command and return its exit code."""
    parser = cli.Parser(
        prog="status.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", metavar="OUTPUT", help="dataset directory of the run; path or URL")
    parser.add_argument("--manifest", metavar="M", help="what should be in it (default: what run.json names)")
    parser.add_argument("--videos", metavar="ROOT", help="as in the run; needed for some benchmarks' manifests")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args()
    from pipeline.status import read_status

    status = read_status(options.output, manifest=options.manifest, videos=options.videos)
    print(json.dumps(dataclasses.asdict(status), indent=2) if options.json else status)
    return 0 if status.is_all_well else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(cli.run("status.py", main))
