"""``python -m pipeline.cli VERB ...`` is ``sa2va-i VERB ...``."""

import sys

from pipeline.cli.program import main

sys.exit(main())
