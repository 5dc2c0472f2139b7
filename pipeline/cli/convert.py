"""Make a Sa2VA-i checkpoint of a Sa2VA checkpoint and Meta's sam2_hiera_large.pt.

Nothing is trained and nothing in either file is executed: the original mask decoder of SAM 2 is put beside the
fine-tuned one, everything else is copied bit for bit, or cast with --dtype.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.cli.terminal import print_line
from pipeline.settings import CheckedSettings, Option

EPILOG = "exit codes: 0 done; 2 bad usage; 3 could not convert\n"


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    sa2va: Annotated[str, Option("DIR")]
    """Sa2VA checkpoint."""
    sam2: Annotated[str, Option("FILE")]
    """Meta's sam2_hiera_large.pt."""
    output: Annotated[str, Option("DIR")]
    """Sa2VA-i checkpoint to write."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """Store the vision tower and the language model in this type (default: the one they have). Released checkpoints
    are float32; bfloat16 takes half the disk and gives the same masks in runs in bfloat16."""


def run(options: Options) -> int:
    """Convert."""
    import torch

    from pipeline.model.checkpoint.convert import convert

    logging.getLogger("pipeline.model.checkpoint").setLevel(logging.INFO)  # names each file; it takes minutes
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    convert(Path(options.sa2va), Path(options.sam2), Path(options.output), dtype=dtype)
    print_line(f"{options.output}: Sa2VA-i checkpoint written")
    return 0
