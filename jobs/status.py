#!/usr/bin/env python3
"""``sa2va-i status`` as a file, for ``python jobs/status.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["status", *sys.argv[1:]]))
