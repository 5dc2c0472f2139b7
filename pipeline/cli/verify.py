"""Ask another vision-language model whether each mask of a dataset shows what its expression says.

Keyframes with the mask outlined go to an OpenAI-compatible server: a hosted one, or vLLM or SGLang of your own. What it
says is kept beside the dataset, in verdicts/*.parquet, and --reject-below of other verbs uses it. Started again with
the same command, a run goes on where it was.
"""

import sys
from dataclasses import dataclass, fields
from typing import Annotated

from pipeline.cli.terminal import print_line, printable
from pipeline.settings import Option
from pipeline.verify.settings import OUTLINED_QUESTION, PRESENCE_QUESTION, VerifySettings

EPILOG = f"""\
--prompt is, if nothing else is given:
  {OUTLINED_QUESTION}
--presence-prompt:
  {PRESENCE_QUESTION}

A verdict is the probability of yes, from log-probabilities where the server gives them, else 1 or 0. Keys are read from
environment variables and stand in no file and no message.

exit codes: 0 done; 1 done, but some rows got no verdict (the same command tries them again); 2 bad usage; 3 could not
run, for instance because a server answers nothing, or a file of the dataset is damaged and --allow-missing was not
given; 130 interrupted
"""


@dataclass(frozen=True, kw_only=True)
class Options(VerifySettings):
    """Dataset."""

    predictions: Annotated[str, Option("OUT")]
    """The mask dataset; path or URL."""
    manifest: Annotated[str, Option("M")] | None = None
    """Names the videos (default: the manifest of the run)."""
    videos: Annotated[str, Option("ROOT")] | None = None
    """Folder that relative video paths start from."""
    allow_missing: bool = False
    """Go on without rows that do not read back (exit code 1)."""


def run(options: Options) -> int:
    """Verify."""
    from pipeline.storage import scrub
    from pipeline.verify.run import verify

    settings = VerifySettings(**{field.name: getattr(options, field.name) for field in fields(VerifySettings)})
    result = verify(
        options.predictions,
        settings,
        manifest=options.manifest,
        videos=options.videos,
        allow_missing=options.allow_missing,
        report_line=print_line,
    )
    print_line(
        f"{scrub(options.predictions)}/verdicts: {result.judged} new ({result.said_yes} yes, "
        f"{result.judged - result.said_yes} no), {result.judged_before} were there"
        + (f", {result.left} rows left for another time" if result.left else "")
    )
    for video_id, expression_id, object_id, why in result.failures:
        row = f"video {video_id!r} expression {expression_id!r} object {object_id}"
        print(f"no verdict: {row}: {printable(why)}", file=sys.stderr)
    if result.failed:
        print(
            f"sa2va-i verify: {result.failed} rows got no verdict; the same command tries them again", file=sys.stderr
        )
    for line in result.damage:
        print(f"sa2va-i verify: {printable(line)}", file=sys.stderr)
    return 1 if result.failed or result.damage else 0
