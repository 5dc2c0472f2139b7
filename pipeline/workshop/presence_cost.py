"""What the presence question costs: tokens that it adds to a video's prompts, and its share of grounding time.

Tokens need a checkpoint's config.json, tokenizer and chat template only; times need its weights. Times are of the
processor, so that other programs on the machine do not count.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

from pipeline.cli.program import run_command
from pipeline.settings import CheckedSettings, Option, at_least

if TYPE_CHECKING:
    from pipeline.model.families.base import ModelConfig
    from pipeline.model.grounder import Grounder
    from pipeline.video.frames import FrameSource

PROGRAM = "python -m pipeline.workshop.presence_cost"
EXPRESSIONS = [
    "the dog",
    "the shape moving in a circle",
    "the person in a red coat walking behind the dog",
    "two cats that jump down from the table one after the other",
]


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    model: str = "nano"
    """nano, or a checkpoint."""
    video: Annotated[str, Option("FILE")]
    """What to ask about."""
    num_keyframes: Annotated[int, at_least(1), Option("K")] = 5
    """Frames the language model sees."""
    tokens: bool = False
    """Count tokens only; the directory needs no weights."""
    repeats: Annotated[int, at_least(1), Option("N")] = 9
    """Times to measure."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Of one expression's prompts, the image tokens being shared by all expressions of a video."""

    images: int
    """Image tokens of all keyframes."""
    request: float
    """Tokens behind the images of the prompt that asks for a mask, mean over expressions."""
    reply: int
    """Tokens of the usual replies, which are tried beside each other."""
    question: float
    """Tokens behind the images of the presence question, mean over expressions."""

    def share(self, expressions: int) -> float:
        """Which share of a video's tokens the questions are."""
        asked = expressions * self.question
        return asked / (self.images + expressions * (self.request + self.reply) + asked)


def run(options: Options) -> int:
    """Count, measure, print."""
    from pipeline.model.checkpoint.locate import fetch_model, pin_model
    from pipeline.video.source import open_video

    directory = fetch_model(pin_model(options.model))
    with open_video(options.video) as source:
        tokens = count_tokens(directory, source, options.num_keyframes)
        print(f"tokens: {tokens}")
        for expressions in (1, 4, 16):
            print(f"{expressions:2} expressions: the question is {100 * tokens.share(expressions):.1f} % of the tokens")
        if options.tokens:
            return 0
        grounder = _grounder(directory)
        for expressions in (1, 4, 16):
            without, asked = measure(grounder, source, expressions, options.num_keyframes, options.repeats)
            print(
                f"{expressions:2} expressions: grounding {1000 * without:.1f} ms without, {1000 * asked:.1f} ms with "
                f"the question, of which {100 * (asked - without) / asked:.1f} %"
            )
    return 0


def count_tokens(directory: Path, source: "FrameSource", num_keyframes: int) -> Tokens:
    """From a checkpoint's prompt builder, for a video.

    Args:
        directory: With config.json, tokenizer and chat template.
        source: The video.
        num_keyframes: Frames the language model sees.
    """
    from pipeline.model.families import read_config
    from pipeline.model.procedure import keyframes_of, procedure_named
    from pipeline.model.prompt import DEFAULT_PROMPT, PRESENCE_QUESTION

    config: ModelConfig = read_config(directory)
    family = config.family
    tokenizer = family.load_tokenizer(directory, config)
    prompts = family.prompt_builder(directory, config, tokenizer, DEFAULT_PROMPT)
    keyframes = keyframes_of(source, procedure_named("sa2va-i"), num_keyframes)
    images = family.read_pictures(source, keyframes, config).tokens
    asked = [_behind_images(prompts.ids(text, images), tokenizer.image_id) for text in EXPRESSIONS]
    questions = [
        _behind_images(prompts.question_ids(PRESENCE_QUESTION, text, images), tokenizer.image_id)
        for text in EXPRESSIONS
    ]
    return Tokens(
        images=sum(images),
        request=sum(asked) / len(asked),
        reply=sum(map(len, prompts.usual_replies())),
        question=sum(questions) / len(questions),
    )


def _behind_images(ids: Sequence[int], image_id: int) -> int:
    return list(ids)[::-1].index(image_id)


def _grounder(directory: Path) -> "Grounder":
    from pipeline.model.sa2va import Sa2VA

    return Sa2VA.from_checkpoint(directory).grounder


def measure(
    grounder: "Grounder", source: "FrameSource", expressions: int, num_keyframes: int, repeats: int
) -> tuple[float, float]:
    """Median processor seconds of grounding a video, keyframes read and encoded, without and with the question."""
    from pipeline.model.ground import ground_video
    from pipeline.model.procedure import procedure_named
    from pipeline.model.prompt import PRESENCE_QUESTION

    texts = [EXPRESSIONS[number % len(EXPRESSIONS)] for number in range(expressions)]
    procedure = procedure_named("sa2va-i")
    seconds: dict[str | None, list[float]] = {None: [], PRESENCE_QUESTION: []}
    for _ in range(repeats + 1):  # the first pass warms up
        for question, times in seconds.items():
            started = time.process_time()
            ground_video(grounder, source, texts, procedure, num_keyframes, presence_question=question)
            times.append(time.process_time() - started)
    return median(seconds[None][1:]), median(seconds[PRESENCE_QUESTION][1:])


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__))
