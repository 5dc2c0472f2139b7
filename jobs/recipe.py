#!/usr/bin/env python3
"""``sa2va-i recipe`` as a file, for ``python jobs/recipe.py`` and ``ray job submit``."""

import sys

from pipeline.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["recipe", *sys.argv[1:]]))
