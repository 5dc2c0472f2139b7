#!/usr/bin/env python3
"""``sa2va-i annotate`` as a file, for ``python jobs/annotate.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["annotate", *sys.argv[1:]]))
