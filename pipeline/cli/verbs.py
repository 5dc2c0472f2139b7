"""The verbs of ``sa2va-i``: what a verb is, and the list of them.

A verb is a module of this package named after it (``import_`` for ``import``, which is a word of Python's). Its
docstring is its help text (the first line also stands in
``sa2va-i --help``), ``Options`` is a dataclass whose fields are its options (see :mod:`pipeline.settings`), and
``run(options)`` does the work and returns the exit code. To add one, write the module and name it here; a thin
``jobs/VERB.py`` makes it a file that ``ray job submit`` can run.

Modules of verbs import nothing heavy (no Ray, PyTorch, pandas) before ``run`` is called, so that help and usage errors
are instant.
"""

import importlib
from keyword import iskeyword
from typing import Any, Protocol

from pipeline.errors import UsageError

VERBS = (
    "demo",
    "annotate",
    "status",
    "verify",
    "evaluate",
    "combine",
    "export",
    "import",
    "diff",
    "report",
    "curate",
    "recipe",
    "convert",
)


class Verb(Protocol):
    """What a verb's module holds. ``EPILOG``, text at the end of ``--help``, may be left out."""

    __doc__: str | None
    Options: type

    def run(self, options: Any) -> int:  # noqa: ANN401 - the module's own Options
        """Do the work; return the exit code."""
        ...


def verb_named(name: str) -> Verb:
    """The module of a verb.

    Raises:
        UsageError: There is no such verb.
    """
    if name not in VERBS:
        raise UsageError(f"there is no verb {name!r}; there are {', '.join(VERBS)} (--help says what they do)")
    return importlib.import_module(f"pipeline.cli.{name}_" if iskeyword(name) else f"pipeline.cli.{name}")


def summary_of(verb: Verb) -> str:
    """The first line of a verb's help text, without its full stop."""
    return (verb.__doc__ or "").strip().splitlines()[0].rstrip(".")
