#!/usr/bin/env python3
"""Make a Sa2VA-i checkpoint of a Sa2VA checkpoint and Meta's sam2_hiera_large.pt.

Nothing is trained and nothing in either file is executed: the original mask decoder of SAM 2 is put beside the
fine-tuned one, everything else is copied bit for bit.
"""

import argparse
import logging
import sys
from pathlib import Path

from pipeline import cli


def main() -> int:
    """Convert as the command line says."""
    parser = cli.Parser(
        prog="convert.py",
        description=__doc__,
        epilog="exit codes: 0 done; 2 bad usage; 3 could not convert",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sa2va", type=Path, required=True, metavar="DIR", help="Sa2VA checkpoint")
    parser.add_argument("--sam2", type=Path, required=True, metavar="FILE", help="Meta's sam2_hiera_large.pt")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="Sa2VA-i checkpoint to write")
    options = parser.parse_args()

    from pipeline.model.checkpoint.convert import convert  # takes seconds; after the usage errors

    convert(options.sa2va, options.sam2, options.output)
    print(f"{options.output}: Sa2VA-i checkpoint written")
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(cli.run("convert.py", main))
