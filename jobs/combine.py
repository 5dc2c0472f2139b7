#!/usr/bin/env python3
"""``sa2va-i combine`` as a file, for ``python jobs/combine.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["combine", *sys.argv[1:]]))
