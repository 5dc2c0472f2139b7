#!/usr/bin/env python3
"""``sa2va-i diff`` as a file, for ``python jobs/diff.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["diff", *sys.argv[1:]]))
