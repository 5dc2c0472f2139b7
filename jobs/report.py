#!/usr/bin/env python3
"""``sa2va-i report`` as a file, for ``python jobs/report.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
