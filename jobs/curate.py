#!/usr/bin/env python3
"""``sa2va-i curate`` as a file, for ``python jobs/curate.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["curate", *sys.argv[1:]]))
