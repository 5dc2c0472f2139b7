"""The entry of ``sa2va-i``: finds the verb, reads its options, and turns every outcome into an exit code."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, TypeVar

from pipeline.cli.options import Parser, parse
from pipeline.cli.terminal import printable
from pipeline.cli.verbs import VERBS, summary_of, verb_named
from pipeline.engine.cluster import disconnect
from pipeline.errors import PipelineError, UsageError
from pipeline.logs import log_to_terminal

log = logging.getLogger(__name__)
T = TypeVar("T")

PROGRAM = "sa2va-i"
INTERRUPTED = 130

EPILOG = """\
sa2va-i VERB --help lists a verb's options.

exit codes: 0 done; 1 done, but something failed or is missing (the last line says what); 2 bad usage; 3 could not run;
130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``sa2va-i`` with these arguments (default: the command line's) and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0 if given else 2
    if given[0] == "--version":
        sys.stdout.write(f"{PROGRAM} {_version()}\n")
        return 0
    try:
        verb = verb_named(given[0])
    except UsageError as error:
        sys.stderr.write(f"{PROGRAM}: {printable(error)}\n")
        return error.exit_code
    epilog = getattr(verb, "EPILOG", "")
    return run_command(
        f"{PROGRAM} {given[0]}", verb.Options, verb.run, given[1:], description=verb.__doc__, epilog=epilog
    )


def run_command(
    program: str,
    options: type[T],
    run: Callable[[T], int],
    arguments: Sequence[str],
    *,
    description: str | None,
    epilog: str = "",
) -> int:
    """Read the options of a command, run it, and return the exit code.

    Args:
        program: What the command is called in its messages.
        options: Dataclass of its options.
        run: Does the work; returns the exit code.
        arguments: From the command line.
        description: Help text.
        epilog: Text at the end of the help.
    """

    def work() -> int:
        return run(parse(options, arguments, prog=program, description=(description or "").strip(), epilog=epilog))

    return run_program(program, work)


def run_program(program: str, work: Callable[[], int]) -> int:
    """Run a program's work and return its exit code.

    An error raised on purpose becomes one line on standard error, the last one, and the error's exit code.
    """
    log_to_terminal()
    # sent by batch systems and `ray job stop`: ends a run as Ctrl-C does, with all that was done kept
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        return work()
    except PipelineError as error:
        disconnect()
        sys.stderr.write(f"{program}: {printable(error)}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted; the same command goes on where it was\n")
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read the output is gone, as in `| head`; what is left in the buffer must not raise at exit
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        return PipelineError.exit_code
    except Exception as error:
        log.exception("%s could not go on", program)
        disconnect()
        sys.stderr.write(f"{program}: could not run: {type(error).__name__}: {printable(error)}\n")
        return PipelineError.exit_code


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _help() -> str:
    lines = [f"  {name:10} {summary_of(verb_named(name))}" for name in VERBS]
    parser = Parser(
        prog=PROGRAM,
        description="Videos and sentences in, masks out.\n\nverbs:\n" + "\n".join(lines),
        epilog=EPILOG,
    )
    parser.usage = f"{PROGRAM} VERB [options]"
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("verb", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser.format_help()


def _version() -> str:
    from importlib.metadata import version

    return version("sa2va-i-pipeline")
