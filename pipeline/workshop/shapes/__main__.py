"""Draw clips of moving shapes with true sentences and masks, as a benchmark tree in MeViS's layout.

DIR receives JPEGImages/, meta_expressions.json (also a manifest for annotate), mask_dict.json, and kinds.json (each
sentence's kind). Sentences that nothing in the clip matches are among them: their lists of objects are empty.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.cli.program import run_command
from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, Option, at_least

PROGRAM = "python -m pipeline.workshop.shapes"
EPILOG = "The same options draw the same bytes.\n\nexit codes: 0 done; 2 bad usage; 3 could not run\n"

Count = Annotated[int, at_least(1), Option("N")]


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    output: Annotated[str, Option("DIR")]
    """Folder to write; files that exist are overwritten."""
    seed: Annotated[int, at_least(0), Option("N")] = 1
    """Another seed draws other clips."""
    videos: Count = 8
    """Clips to draw."""
    split: Literal["test", "train"] = "test"
    """Test clips hold a colour x shape x motion that no training clip holds."""
    min_frames: Count = 16
    """Least number of frames of a clip."""
    max_frames: Count = 40
    """Greatest number of frames of a clip."""
    expressions: Count = 8
    """Sentences of a clip, at most; one of each kind first (there are seven kinds, absent objects one of them)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_frames > self.max_frames:
            raise UsageError(f"min_frames is {self.min_frames}, above max_frames, which is {self.max_frames}")


def run(options: Options) -> int:
    """Draw."""
    import torch

    from pipeline.workshop.shapes.benchmark import write_benchmark

    torch.set_num_threads(1)
    write_benchmark(
        Path(options.output),
        num_videos=options.videos,
        seed=options.seed,
        split=options.split,
        num_frames=(options.min_frames, options.max_frames),
        expressions_per_video=options.expressions,
    )
    print(f"{options.output}: {options.videos} clips; {options.output}/meta_expressions.json is a manifest")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__, epilog=EPILOG))
