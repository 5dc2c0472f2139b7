#!/usr/bin/env python3
"""``sa2va-i convert`` as a file, for ``python jobs/convert.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
