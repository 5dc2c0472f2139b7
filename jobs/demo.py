#!/usr/bin/env python3
"""``sa2va-i demo`` as a file, for ``python jobs/demo.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
