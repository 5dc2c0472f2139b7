#!/usr/bin/env python3
"""``sa2va-i evaluate`` as a file, for ``python jobs/evaluate.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
