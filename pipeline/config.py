"""The configuration of one annotation run, checked before anything starts."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UsageError
from pipeline.model.procedure import PROCEDURES, Procedure
from pipeline.model.prompt import DEFAULT_PROMPT, check_prompt

CHOICES = {
    "procedure": tuple(PROCEDURES),
    "keyframes": ("uniform", "first"),
    "handover": ("masks", "logits"),
    "propagation_decoder": ("original", "finetuned"),
    "dtype": ("auto", "float32", "bfloat16"),
    "objects": ("all", "first"),
}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a run needs to know. Field names are those of the command line and of ``--config run.yaml``."""

    manifest: str
    """Manifest file: .parquet, .jsonl, .csv or a benchmark's meta_expressions.json; any fsspec URL."""
    model: str
    """Checkpoint: local directory, URL, Hub id (optionally ``@revision``), or ``nano``."""
    output: str
    """Dataset directory to write; any fsspec URL."""
    videos: str | None = None
    """Folder that relative video paths start from (default: the manifest's)."""

    procedure: str = "sa2va-i"
    """``sa2va-i`` or ``sa2va`` (the original procedure)."""
    keyframes: str | None = None
    """Override one choice of the procedure: ``uniform`` or ``first``."""
    handover: str | None = None
    """Override: keyframe masks enter propagation as ``masks`` or raw ``logits``."""
    propagation_decoder: str | None = None
    """Override: ``original`` or ``finetuned`` mask decoder propagates."""
    num_keyframes: int = 5
    """Frames the language model sees (published: 5)."""
    prompt_template: str = DEFAULT_PROMPT
    """What is asked; must contain ``{expression}``."""
    objects: str = "all"
    """Keep ``all`` objects of an answer or the ``first`` only (as the published evaluation does)."""
    dtype: str = "auto"
    """``float32``, ``bfloat16``, or ``auto``: bfloat16 on GPUs, float32 on CPUs."""
    frame_stride: int = 1
    """Annotate every Nth frame."""
    max_frames: int | None = None
    """Annotate at most this many frames of a video."""
    merge_tracks: float | None = None
    """Objects of a video whose first masks have at least this IoU on every keyframe share one track (default: only
    objects with equal ones do, which changes no mask)."""

    limit: int | None = None
    """Only the first N videos of the manifest."""
    retry_failed: bool = False
    """Do again what failed before."""
    max_attempts: int = 3
    """Times a video may kill its worker before it counts as failed."""
    decode_timeout_s: float = 120.0
    """Longest wait for one frame before the decoder is killed."""
    max_side: int = 8192
    """Refuse videos with a longer side than this, in pixels."""

    grounders: int | str | list[int] | None = None
    """Workers that run the language model (default: from the cluster's GPUs): a number, or ``1:8`` to scale between
    bounds. In YAML write ``[1, 8]``, since YAML takes 1:8 for a number of seconds."""
    segmenters: int | str | list[int] | None = None
    """Workers that run SAM 2, likewise."""
    gpus_per_grounder: float | None = None
    """GPUs of one grounder; a fraction shares a GPU, two or more spread the language model's layers over them."""
    gpus_per_segmenter: float | None = None
    """GPUs of one segmenter: at most one."""
    ground_on: str | None = None
    """Nodes that grounders run on: those with this accelerator type (``A100``) or custom resource (``big``; ``big=1``
    takes a whole unit for each worker)."""
    segment_on: str | None = None
    """Nodes that segmenters run on, likewise."""
    placement_timeout_s: float = 60.0
    """Longest wait for nodes of a growing cluster before the run is given up as impossible to place."""
    frames_per_batch: int | None = None
    """Frames the image encoder takes at once (default: 4 on a GPU, 1 on a CPU)."""
    max_objects: int = 16
    """Objects propagated at once; halved by itself when GPU memory runs out."""
    split_expressions: str | int = "auto"
    """Annotate videos in parts: of at most N expressions, ``off``, or ``auto``: only those that one segmenter would
    still be at when the others are done. Masks are the same, and a video's rows are committed together."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        for name in ("num_keyframes", "frame_stride", "max_attempts", "max_objects", "max_side"):
            _at_least(name, getattr(self, name), 1)
        for name in ("grounders", "segmenters"):
            worker_bounds(name, getattr(self, name))
        for name in ("ground_on", "segment_on"):
            _check_kind_of_node(name, getattr(self, name))
        if self.placement_timeout_s < 0:
            raise UsageError(f"placement_timeout_s is {self.placement_timeout_s}; it must not be negative")
        for name in ("max_frames", "limit", "frames_per_batch"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        for name in ("gpus_per_grounder", "gpus_per_segmenter"):
            share = getattr(self, name)
            if share is not None and (share < 0 or (share > 1 and share != int(share))):
                raise UsageError(f"{name} is {share}; it must be 0, a fraction below 1, or a whole number")
        if (self.gpus_per_segmenter or 0) > 1:
            raise UsageError(f"gpus_per_segmenter is {self.gpus_per_segmenter}; a segmenter uses at most one GPU")
        if self.merge_tracks is not None and not 0 < self.merge_tracks <= 1:
            raise UsageError(f"merge_tracks is {self.merge_tracks}; it must be an IoU above 0 and at most 1")
        if self.decode_timeout_s <= 0:
            raise UsageError(f"decode_timeout_s is {self.decode_timeout_s}; it must be positive")
        splitting(self.split_expressions)
        if self.merge_tracks is not None and splitting(self.split_expressions) not in ("auto", "off"):
            raise UsageError("split_expressions and merge_tracks exclude each other: parts do not know similar objects")
        check_prompt(self.prompt_template)

    def resolved_procedure(self) -> Procedure:
        """The named procedure with the overrides of its three choices."""
        overrides = {name: getattr(self, name) for name in ("keyframes", "handover", "propagation_decoder")}
        return replace(PROCEDURES[self.procedure], **{k: v for k, v in overrides.items() if v is not None})

    def identity(self, model_fingerprint: str) -> dict[str, Any]:
        """Everything that decides masks; an output directory is bound to it."""
        names = ("num_keyframes", "prompt_template", "objects", "dtype", "frame_stride", "max_frames", "max_side")
        chosen = {name: getattr(self, name) for name in names}
        if self.merge_tracks is not None:  # where it is off, outputs that are older than the option stay valid
            chosen["merge_tracks"] = float(self.merge_tracks)
        return {"model_fingerprint": model_fingerprint, **asdict(self.resolved_procedure()), **chosen}

    def as_dict(self) -> dict[str, Any]:
        """All fields, for ``run.json``."""
        return asdict(self)


def worker_bounds(name: str, value: int | str | list[int] | None) -> tuple[int, int] | None:
    """The smallest and largest size of a pool, from ``4``, ``"1:8"`` or ``[1, 8]``; none if it is left open.

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
        raise UsageError(f"{name} is {value!r}; it must be a number of workers, or least and most of them as 1:8")
    return numbers[0], numbers[-1]


def splitting(value: str | int) -> str | int:
    """``auto``, ``off``, or a number of expressions.

    Raises:
        UsageError: It is none of these.
    """
    if value is False:  # YAML's reading of a bare off
        return "off"
    if value in ("auto", "off"):
        return value
    try:
        count = int(value)
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(f"split_expressions is {value!r}; it must be auto, off, or a number of expressions")
    return count


def _check_kind_of_node(name: str, value: str | None) -> None:
    if value is None:
        return
    kind, equals, amount = value.partition("=")
    try:
        fits = bool(kind) and (not equals or 0 < float(amount) < float("inf"))
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(
            f"{name} is {value!r}; it must name an accelerator type or a custom resource, as A100 or big=1"
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{name} is {value}; it must be at least {least}")


def load_config_file(path: Path) -> dict[str, Any]:
    """Read ``--config``: YAML with the field names of :class:`RunConfig`.

    Raises:
        UsageError: unreadable, not a mapping, or a name that does not exist.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: must hold 'name: value' lines, found {type(values).__name__}")
    known = {f.name for f in fields(RunConfig)}
    unknown = sorted(set(map(str, values)) - known)
    if unknown:
        raise UsageError(f"{path}: unknown settings {', '.join(unknown)}")
    return values
