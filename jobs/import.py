#!/usr/bin/env python3
"""``sa2va-i import`` as a file, for ``python jobs/import.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["import", *sys.argv[1:]]))
