"""The whole model in one object, without Ray: videos and sentences in, masks out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint.locate import fetch_model, pin_model
from pipeline.model.checkpoint.names import SAM2_PREFIX, grounder_mappings, segmenter_mappings
from pipeline.model.checkpoint.open import open_checkpoint
from pipeline.model.checkpoint.weights import check_fits
from pipeline.model.device import resolve_device, resolve_dtype
from pipeline.model.ground import ground_video
from pipeline.model.grounder import Grounder
from pipeline.model.presence import Calibration
from pipeline.model.procedure import Procedure, keyframes_of, procedure_named
from pipeline.model.prompt import DEFAULT_PROMPT, PRESENCE_QUESTION
from pipeline.model.rows import mask_rows
from pipeline.model.sam2.propagation import check_procedure
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import SegmentOptions
from pipeline.model.segment import Track, segment_video
from pipeline.schema import MaskRow, joined_notes
from pipeline.video.frames import FrameSource
from pipeline.video.source import open_video

MODIFIED = SAM2_PREFIX + "sam_mask_decoder_modified."
"""What only a Sa2VA-i checkpoint has: the fine-tuned mask decoder beside the original one."""


@dataclass(frozen=True, kw_only=True)
class ExpressionMasks:
    """What one expression of a video refers to.

    Attributes:
        expression: As asked.
        answer: The language model's reply.
        tracks: One per ``[SEG]`` of the answer; empty if it named no object.
        frame_names: Names of the frames; the tracks have one entry for each.
        keyframes: Indices of the frames the language model saw.
        height: Of the masks, pixels.
        width: Of the masks, pixels.
        presence: Probability 0..1 that what the expression names is in the video at all.
        yes_probability: Probability of "yes" as the answer to the presence question; ``None`` if it was not asked.
        note: What a user should know about the result; ``None`` if nothing.
        error: Why the expression has no answer; ``None`` if it has.
    """

    expression: str
    answer: str
    tracks: list[Track]
    frame_names: tuple[str, ...]
    keyframes: list[int]
    height: int
    width: int
    presence: float | None = None
    yes_probability: float | None = None
    note: str | None = None
    error: str | None = None

    def rows(self, *, video_id: str, expression_id: str) -> list[MaskRow]:
        """The rows of the mask dataset: one per track, or one ``no_object`` or ``failed`` row."""
        return mask_rows(
            video_id=video_id,
            expression_id=expression_id,
            expression=self.expression,
            answer=self.answer,
            tracks=self.tracks,
            frame_names=self.frame_names,
            keyframes=self.keyframes,
            height=self.height,
            width=self.width,
            notes=[self.note],
            presence=self.presence,
            error=self.error,
        )


class VideoMasks(list[ExpressionMasks]):
    """What each expression of a video refers to, in the order they were asked."""

    def rows(self, *, video_id: str, expression_ids: Sequence[str] | None = None) -> list[MaskRow]:
        """The video's rows of the mask dataset, as ``DatasetWriter.commit`` takes them.

        Args:
            video_id: Unique per video.
            expression_ids: Unique within the video, one per expression; ``None`` numbers them 0, 1, ...

        Raises:
            ValueError: ``expression_ids`` has another length than the result.
        """
        ids = [str(number) for number in range(len(self))] if expression_ids is None else expression_ids
        return [
            row
            for result, expression_id in zip(self, ids, strict=True)
            for row in result.rows(video_id=video_id, expression_id=expression_id)
        ]


class Sa2VA:
    """Sa2VA-i (or Sa2VA) in one process.

    Example:
        >>> from pipeline.dataset import DatasetWriter
        >>> from pipeline.model.sa2va import Sa2VA
        >>> model = Sa2VA.from_checkpoint("Sa2VA-i-1B")  # a folder with config.json and *.safetensors
        >>> result = model.segment("dog.mp4", ["the dog that jumps", "the ball"])
        >>> result[0].answer
        'Sure, [SEG].<|im_end|>'
        >>> result[0].tracks[0].areas[:3]  # pixels of the dog on the first frames
        [14205, 14318, 14377]
        >>> DatasetWriter("out").commit(result.rows(video_id="dog"))
    """

    def __init__(self, grounder: Grounder, segmenter: Segmenter, calibration: Calibration | None = None) -> None:
        self.grounder = grounder
        self.segmenter = segmenter
        self.calibration = calibration or Calibration()

    @classmethod
    def from_checkpoint(
        cls, directory: str | Path, *, device: str = "auto", dtype: str = "auto", prompt: str = DEFAULT_PROMPT
    ) -> "Sa2VA":
        """Load a published checkpoint (config.json, safetensors, tokenizer); nothing in it is executed.

        Args:
            directory: A folder in the Hugging Face layout, or as ``--model``: ``nano``, a URL, a Hub id[@revision].
            device: ``auto`` takes a GPU if there is one.
            dtype: ``float32``, ``bfloat16`` or ``auto`` (bfloat16 on a GPU, float32 on a CPU).
            prompt: What is asked; must contain ``{expression}``.

        Raises:
            CheckpointError: not a usable checkpoint; nothing missing and nothing left over is tolerated.
        """
        files, config = open_checkpoint(fetch_model(pin_model(str(directory))))
        target = resolve_device(device)
        kind = resolve_dtype(dtype, target)
        grounder = Grounder.from_checkpoint(files, config, device_of=lambda _: target, dtype=kind, prompt_text=prompt)
        segmenter = Segmenter.from_checkpoint(files, config, device=target, dtype=kind)
        return cls(grounder, segmenter, Calibration.of_checkpoint(files.directory))

    def segment(
        self,
        video: str | Path | FrameSource,
        expressions: Sequence[str],
        *,
        procedure: str | Procedure = "sa2va-i",
        num_keyframes: int = 5,
        options: SegmentOptions | None = None,
        presence_question: str | None = PRESENCE_QUESTION,
    ) -> VideoMasks:
        """Masks for every expression of a video; the video is decoded and encoded once for all of them.

        Args:
            video: A video file, image, or folder or archive of frames (path or URL), or an open source.
            expressions: Referring expressions, as written.
            procedure: ``sa2va-i``, ``sa2va``, or a mixture.
            num_keyframes: Frames the language model sees.
            options: Batch sizes.
            presence_question: What is asked beside to estimate ``presence``, with ``{expression}`` in it; ``None`` asks
                nothing. Masks are the same either way.

        Raises:
            VideoError: the video cannot be read.
        """
        chosen = procedure_named(procedure) if isinstance(procedure, str) else procedure
        if isinstance(video, str | Path):
            with open_video(str(video)) as source:
                return self._segment(source, expressions, chosen, num_keyframes, options, presence_question)
        return self._segment(video, expressions, chosen, num_keyframes, options, presence_question)

    def _segment(
        self,
        source: FrameSource,
        expressions: Sequence[str],
        procedure: Procedure,
        num_keyframes: int,
        options: SegmentOptions | None,
        presence_question: str | None,
    ) -> VideoMasks:
        groundings = ground_video(
            self.grounder, source, expressions, procedure, num_keyframes, presence_question=presence_question
        )
        tracks = segment_video(
            self.segmenter,
            source,
            [grounding.prompts for grounding in groundings],
            [grounding.seg_probabilities for grounding in groundings],
            procedure,
            num_keyframes,
            options,
        )
        return VideoMasks(
            ExpressionMasks(
                expression=expression,
                answer=grounding.answer,
                tracks=expression_tracks,
                frame_names=source.frame_names,
                keyframes=keyframes_of(source, procedure, num_keyframes),
                height=source.height,
                width=source.width,
                presence=self.calibration.of_tracks(grounding.yes_probability, expression_tracks),
                note=joined_notes([grounding.note, source.note]),
                yes_probability=grounding.yes_probability,
                error=grounding.error,
            )
            for expression, grounding, expression_tracks in zip(expressions, groundings, tracks, strict=True)
        )


def check_checkpoint(directory: Path, procedure: Procedure | None = None) -> None:
    """Find out from headers alone, in seconds, whether a checkpoint can be used, before workers start.

    Checks config, files, tokenizer, chat template, and every tensor's name and shape.

    Args:
        directory: Hugging Face layout.
        procedure: Also check that the checkpoint has the weights it needs.

    Raises:
        CheckpointError: it cannot; the message names the file and what is wrong with it.
    """
    files, config = open_checkpoint(directory)
    in_grounder, in_segmenter = grounder_mappings(files.file_of, config), segmenter_mappings(files.file_of)
    tokenizer = config.family.load_tokenizer(directory, config)
    try:
        config.family.prompt_builder(directory, config, tokenizer, DEFAULT_PROMPT)
        with init_empty_weights(include_buffers=False):
            grounder = Grounder(config)
            segmenter = Segmenter(config.grounding, has_original=any(MODIFIED in key for key in in_segmenter))
    except CheckpointError as error:
        raise CheckpointError(f"{directory / 'config.json'}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, StrictDataclassError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(
            f"{directory / 'config.json'}: describes no model that can be built ({reason})"
        ) from error
    check_fits(grounder, files, in_grounder)
    check_fits(segmenter, files, in_segmenter)
    if procedure is not None:
        check_procedure(segmenter, procedure)
