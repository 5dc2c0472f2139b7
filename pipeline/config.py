"""The configuration of one annotation run, checked before anything starts.

A setting is a field of one of the classes below. Its option (``--num-keyframes``), its name in ``--config run.yaml``,
its help text and its check all come from the field; the class it stands in decides its heading in ``--help`` and, for
:class:`MaskSettings`, that outputs are bound to it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

from pipeline.errors import UsageError
from pipeline.model.procedure import MAX_OBJECTS_PER_EXPRESSION, PROCEDURES, Procedure
from pipeline.model.prompt import DEFAULT_PROMPT, PRESENCE_QUESTION, check_prompt
from pipeline.settings import NOT_NEGATIVE, POSITIVE, Option, Rule, at_least, between, check_settings

Count = Annotated[int, at_least(1), Option("N")]
Seconds = Annotated[float, POSITIVE, Option("S")]


def worker_bounds(name: str, value: int | str | list[int] | None) -> tuple[int, int] | None:
    """The smallest and largest size of a pool from ``4``, ``"1:8"`` or ``[1, 8]``; ``None`` if it is left open.

    Raises:
        UsageError: It is none of these, or not 1 <= smallest <= largest.
    """
    if value is None:
        return None
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if not 1 <= len(numbers) <= 2 or not 1 <= numbers[0] <= numbers[-1]:
        raise UsageError(f"{name} is {value!r}; it must be {_POOL_SIZE}")
    return numbers[0], numbers[-1]


def splitting(value: str | int) -> str | int:
    """``auto``, ``off``, or a number of expressions.

    Raises:
        UsageError: It is none of these.
    """
    if value in ("auto", "off"):
        return value
    try:
        count = int(value)
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(f"split_expressions is {value!r}; it must be {_SPLITTING}")
    return count


def _check_node_kind(value: str) -> None:
    """Raise ValueError unless ``value`` is ``NAME`` or ``NAME=AMOUNT``."""
    name, equals, amount = value.partition("=")
    if not name or (equals and not 0 < float(amount) < float("inf")):
        raise ValueError(value)


def _accepted_by(read: Callable[[Any], object], must_be: str) -> Rule:
    """The rule that ``read(value)`` does not raise."""

    def fits(value: object) -> bool:
        try:
            read(value)
        except (ValueError, UsageError):
            return False
        return True

    return Rule(fits, must_be)


_POOL_SIZE = "a number of workers, or least and most of them as 1:8"
_SPLITTING = "auto, off, or a number of expressions"
_NODE_KIND = "an accelerator type or a custom resource, as A100 or big=1"

PoolSize = Annotated[
    int | str | list[int], _accepted_by(lambda value: worker_bounds("", value), _POOL_SIZE), Option("N|A:B")
]
NodeKind = Annotated[str, _accepted_by(_check_node_kind, _NODE_KIND), Option("KIND")]
GpuShare = Annotated[
    float,
    Rule(lambda gpus: gpus >= 0 and (gpus <= 1 or gpus == int(gpus)), "0, a fraction below 1, or a whole number"),
    Option("G"),
]


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """What is annotated, and where it goes."""

    manifest: Annotated[str | None, Option("M")] = None
    """Videos and expressions: .parquet, .jsonl, .csv or a benchmark's meta_expressions.json; path or URL."""
    video: Annotated[str | None, Option("FILE")] = None
    """Instead of a manifest, one video: a file, an image, or a folder or archive of frames; path or URL."""
    expression: Annotated[list[str] | None, Option("TEXT")] = None
    """With --video: what to segment, such as "the dog"; may be repeated."""
    videos: Annotated[str | None, Option("ROOT")] = None
    """Folder that relative video paths start from (default: the manifest's)."""
    model: str
    """nano (the small model that is included), or a Sa2VA-i or Sa2VA checkpoint: folder, URL, Hub id[@revision]."""
    output: Annotated[str, Option("OUT")]
    """Dataset directory to write; path or URL."""
    masks: Annotated[str | None, Option("DATASET")] = None
    """Instead of asking the language model: a mask dataset whose given masks SAM 2 carries through the videos; path or
    URL. Its other rows are taken over as they are."""
    license: Annotated[str | None, Option("TEXT")] = None
    """Licence of the videos, for the column of that name and the dataset card, such as cc-by-4.0."""
    source: Annotated[str | None, Option("TEXT")] = None
    """Where the videos are from, for the column video_source and the dataset card."""
    limit: Count | None = None
    """Annotate only the first N videos of the manifest."""
    parts: Count | None = None
    """Files of a new output, over which videos are spread (default: one for about 250 videos)."""


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """How masks are made (an output keeps these; another choice needs another output)."""

    procedure: Literal["sa2va-i", "sa2va"] = "sa2va-i"
    """The published procedure (sa2va-i), or the original one (sa2va)."""
    keyframes: Literal["uniform", "first", "uniform+"] | None = None
    """Override the procedure: which frames the language model sees; uniform+ is denser towards both ends."""
    handover: Literal["masks", "logits"] | None = None
    """Override the procedure: keyframe masks enter propagation as mask prompts, or as raw logits."""
    propagation_decoder: Literal["original", "finetuned"] | None = None
    """Override the procedure: which mask decoder propagates."""
    num_keyframes: Annotated[int, at_least(1), Option("K")] = 5
    """Frames the language model sees."""
    keyframe_offset: Annotated[float, between(-0.5, 0.5), Option("X")] = 0.0
    """Move keyframes that are spread, all but the first, by this share of the space between two, for runs to be
    combined."""
    keyframe_seed: Annotated[int, at_least(0), Option("N")] | None = None
    """Move each of these by a random share from -0.5 to 0.5; another number, other frames (default: none moves)."""
    objects: Literal["all", "first"] = "all"
    """Objects of an answer to keep: all, or the first only, as the published evaluation does."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the model; auto is bfloat16 on GPUs and float32 on CPUs."""
    compile: bool = False
    """Faster on GPUs, may change single pixels: SAM 2's image encoder through torch.compile, and tracking steps as CUDA
    graphs. Not measured on a GPU yet; a worker takes a minute or two longer to start."""
    frame_stride: Count = 1
    """Annotate every Nth frame."""
    max_frames: Count | None = None
    """Annotate at most N frames of a video."""
    max_objects_per_expression: Count = MAX_OBJECTS_PER_EXPRESSION
    """Objects of one answer to keep at most; more than this is a model that repeats itself. A row whose answer had
    more says so in its error column."""
    given: Literal["corrected", "keyframes"] = "corrected"
    """With --masks, which of its masks count as given: those that a person or a tool corrected, or of every row those
    on keyframes spread over the frames that show its object."""
    from_frame: Annotated[str | None, Option("FRAME")] = None
    """With --masks: given masks count from this frame on, and their objects are not there before it."""
    merge_tracks: (
        Annotated[float, Rule(lambda iou: 0 < iou <= 1, "an IoU above 0 and at most 1"), Option("IOU")] | None
    ) = None
    """Faster, changes masks: objects of a video whose first masks have at least this IoU on every keyframe share one
    track (default: only objects with equal first masks do, which changes no mask)."""


@dataclass(frozen=True, kw_only=True)
class PresenceSettings:
    """Is it there at all? (changes the column presence, never a mask)."""

    presence_question: Annotated[str, Option("TEXT")] = PRESENCE_QUESTION
    """What the language model is asked beside; must contain {expression} and be answered by yes or no; an empty text
    asks nothing."""
    calibration: Annotated[str | None, Option("FILE")] = None
    """Weights of the evidence for presence, as pipeline.workshop.fit_presence writes them (default: the checkpoint's
    own where it has them, else weights that were fitted to nothing); path or URL."""


_PROCEDURE_SETTINGS = ("procedure", "keyframes", "handover", "propagation_decoder")
"""Bound as the resolved procedure: its name alone decides nothing."""
_MOVED_KEYFRAMES = ("keyframe_offset", "keyframe_seed")
"""Of the procedure too, but outputs from before they existed are bound without them."""
_ALWAYS_BOUND = ("num_keyframes", "objects", "dtype", "frame_stride", "max_frames")
"""In the identity at their defaults as well, as they are in every output made so far."""


@dataclass(frozen=True, kw_only=True)
class FailureSettings:
    """Failures and limits."""

    retry_failed: bool = False
    """Do again what failed before."""
    max_attempts: Count = 3
    """Times a video may end its worker before it counts as failed."""
    decode_timeout_s: Seconds = 120.0
    """Longest wait for one frame before the decoder is ended, in seconds."""
    max_failed: Annotated[float, Rule(lambda share: 0 <= share <= 1, "a share from 0 to 1"), Option("SHARE")] = 0.0
    """Share of the expressions that may fail for the run to end with exit code 0, as 0.001 for one in a thousand."""
    video_timeout_s: Seconds | None = None
    """Longest time a stage may take for one video, in seconds; then its worker is ended and the attempt counts
    (default: no limit but the decoder's)."""
    max_side: Annotated[int, at_least(1), Option("PX")] = 8192
    """Refuse videos with a longer side than this, in pixels."""


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Workers."""

    grounders: PoolSize | None = None
    """Workers that run the language model: a number, or 1:8 to scale between bounds (default: from the cluster's
    GPUs)."""
    segmenters: PoolSize | None = None
    """Workers that run SAM 2, likewise."""
    gpus_per_grounder: GpuShare | None = None
    """GPUs of one grounder: a fraction shares a GPU, two or more spread the language model's layers, 0 is the CPU."""
    gpus_per_segmenter: GpuShare | None = None
    """GPUs of one segmenter: at most 1; 0 is the CPU."""
    ground_on: NodeKind | None = None
    """Nodes for grounders: an accelerator type (A100) or a custom resource (big; big=1 takes a unit per worker)."""
    segment_on: NodeKind | None = None
    """Nodes for segmenters, likewise."""
    placement_timeout_s: Annotated[float, NOT_NEGATIVE, Option("S")] = 60.0
    """Longest wait for nodes of a growing cluster that fit the pools, in seconds."""
    frames_per_batch: Count | None = None
    """Frames the image encoder takes at once (default: 4 on a GPU, 1 on a CPU)."""
    max_objects: Count = 16
    """Objects propagated at once; halved when GPU memory runs out."""
    split_expressions: Annotated[str | int, _accepted_by(splitting, _SPLITTING), Option("auto|off|N")] = "auto"
    """Annotate videos in parts of at most N expressions; auto splits only videos that one segmenter would still be
    at when the others are done. Masks are the same."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(InputSettings, MaskSettings, PresenceSettings, FailureSettings, PoolSettings):
    """What the runs of one command have in common: everything but the prompt template."""

    def __post_init__(self) -> None:
        check_settings(self)
        if (self.manifest is None) == (self.video is None):
            raise UsageError("give either --manifest, or --video with --expression (--help lists everything)")
        if (self.video is None) != (not self.expression):
            raise UsageError("--video and --expression go together: what is to be segmented in which video")
        if (self.gpus_per_segmenter or 0) > 1:
            raise UsageError(f"gpus_per_segmenter is {self.gpus_per_segmenter}; a segmenter uses at most one GPU")
        if self.merge_tracks is not None and splitting(self.split_expressions) not in ("auto", "off"):
            raise UsageError("split_expressions and merge_tracks exclude each other: parts do not know similar objects")
        self.resolved_procedure()  # its parts go together
        if self.masks is None and (self.given != "corrected" or self.from_frame is not None):
            raise UsageError("given and from_frame are for masks: name a dataset with --masks")
        if self.masks is not None and self.merge_tracks is not None:
            raise UsageError("masks and merge_tracks exclude each other: each given mask has a track of its own")
        if self.presence_question:
            check_prompt(self.presence_question)

    def resolved_procedure(self) -> Procedure:
        """The named procedure with the overrides of its three choices."""
        overrides = {name: getattr(self, name) for name in (*_PROCEDURE_SETTINGS[1:], *_MOVED_KEYFRAMES)}
        return replace(PROCEDURES[self.procedure], **{k: v for k, v in overrides.items() if v is not None})


@dataclass(frozen=True, kw_only=True)
class RunConfig(RunSettings):
    """Everything a run needs to know. Field names are those of the command line and of ``--config run.yaml``."""

    prompt_template: Annotated[str, Option("TEXT")] = DEFAULT_PROMPT
    """What is asked; must contain {expression}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompt(self.prompt_template)

    def identity(self, model_fingerprint: str) -> dict[str, Any]:
        """Everything that decides masks; an output directory is bound to it.

        A newer setting is left out where it has its default, so that outputs from before it existed stay valid.
        """
        chosen = {f.name: getattr(self, f.name) for f in fields(MaskSettings) if f.name not in _PROCEDURE_SETTINGS}
        defaults = {field.name: field.default for field in fields(MaskSettings)}
        kept = {name: v for name, v in chosen.items() if name in _ALWAYS_BOUND or v != defaults[name]}
        procedure = asdict(self.resolved_procedure())
        named = {name: value for name, value in procedure.items() if name not in _MOVED_KEYFRAMES}
        return {
            "model_fingerprint": model_fingerprint,
            **named,
            "prompt_template": self.prompt_template,
            **kept,
        }

    def as_dict(self) -> dict[str, Any]:
        """All fields, for ``run.json``."""
        return asdict(self)
