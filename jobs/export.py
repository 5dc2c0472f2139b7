#!/usr/bin/env python3
"""``sa2va-i export`` as a file, for ``python jobs/export.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
