#!/usr/bin/env python3
"""``sa2va-i verify`` as a file, for ``python jobs/verify.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["verify", *sys.argv[1:]]))
