"""What the programs under ``jobs/`` share: one-line usage errors and exit codes."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import NoReturn

from pipeline.errors import PipelineError, UsageError

log = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one clear line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(UsageError.exit_code, f"{self.prog}: {message} (--help lists everything)\n")


def run(program: str, work: Callable[[], int]) -> int:
    """Run a program's work; an error raised on purpose becomes one line on standard error and its exit code."""
    try:
        return work()
    except PipelineError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted; the same command goes on where it was\n")
        return 130
    except Exception as error:
        log.exception("%s could not go on", program)
        sys.stderr.write(f"{program}: could not run: {type(error).__name__}: {error}\n")
        return PipelineError.exit_code
