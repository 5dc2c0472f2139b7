"""The noun "model family": everything in which one kind of Sa2VA checkpoint differs from another.

A family is a subclass of :class:`ModelFamily` in a file of its own, listed in :data:`pipeline.model.families.FAMILIES`.
What all families share (SAM 2, the projection of ``[SEG]`` states, greedy replies) asks the family and names none.

Most programs only read a config. A family therefore imports the networks of ``transformers`` (2 s of CPU) in
:meth:`ModelFamily.build_tower` and :meth:`ModelFamily.build_language_model`, and nowhere else.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.model.config import GroundingConfig
from pipeline.model.families.mapping import TensorMapping
from pipeline.model.prompt import PromptBuilder
from pipeline.model.tokenizer import Tokenizer
from pipeline.video.frames import FrameSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The parts of a checkpoint's ``config.json`` that decide what is computed; families add fields of their own.

    Attributes:
        family: The family that read it.
        vision: ``vision_config`` as published.
        language: The language model's configuration as published.
        grounding: Dimensions of SAM 2.
    """

    family: "ModelFamily"
    vision: Mapping[str, Any]
    language: Mapping[str, Any]
    grounding: GroundingConfig = field(default_factory=GroundingConfig)

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.language["hidden_size"])


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Keyframes, or one image, as a tower takes them.

    Attributes:
        pixels: uint8, what :meth:`Tower.look` takes; on the CPU, or on the device that resized.
        tokens: Image tokens of each image block of the prompt, in order.
        grids: Rows and columns of image tokens of each block; ``None`` for families without 2-D positions.
    """

    pixels: Tensor
    tokens: tuple[int, ...]
    grids: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageTokens:
    """What the language model reads in place of the image tokens of a prompt.

    Attributes:
        embeds: ``[N, D]``, all blocks one after the other.
        tokens: Image tokens of each block.
        grids: As in :class:`Pictures`.
        deepstack: ``[N, D]`` each: what is added to the image tokens after the first decoder layers; may be empty.
    """

    embeds: Tensor
    tokens: tuple[int, ...]
    grids: tuple[tuple[int, int], ...] | None = None
    deepstack: tuple[Tensor, ...] = ()


class Tower(nn.Module, ABC):
    """A vision tower with its projector into the language model."""

    @abstractmethod
    def look(self, pictures: Pictures) -> ImageTokens:
        """Image tokens of ``pictures``, on the device and in the type of the tower's weights."""


class ModelFamily(ABC):
    """One kind of Sa2VA checkpoint.

    Attributes:
        name: For people: the base model, as in the table of models.
        no_split_classes: Names of module classes whose parts must stay on one GPU.
        seg_state_is_normed: Whether the state of ``[SEG]`` is read after the final norm of the language model
            (``True``) or before it.
    """

    name: str
    no_split_classes: tuple[str, ...]
    seg_state_is_normed: bool = True

    @abstractmethod
    def recognises(self, values: Mapping[str, Any]) -> bool:
        """Whether a ``config.json`` is of this family; must not raise."""

    @abstractmethod
    def read_config(self, values: Mapping[str, Any], origin: str) -> ModelConfig:
        """Check and reduce a ``config.json``.

        Raises:
            CheckpointError: A part is missing or not supported; the message starts with ``origin``, the file's name.
        """

    def read_files(self, directory: Path, config: Any) -> ModelConfig:  # noqa: ANN401
        """Complete a config with what other files of the directory say; as it is, unless a family says otherwise.

        Raises:
            CheckpointError: A file is missing or not usable; the message names it.
        """
        completed: ModelConfig = config
        return completed

    @abstractmethod
    def build_tower(self, config: Any) -> Tower:  # noqa: ANN401 - each family's own ModelConfig
        """The tower, without weights."""

    @abstractmethod
    def build_language_model(self, config: Any) -> "PreTrainedModel":  # noqa: ANN401
        """The language model without weights: ``.model``, ``.lm_head`` and ``.config`` as ``transformers`` has them."""

    @abstractmethod
    def load_tokenizer(self, directory: Path, config: Any) -> Tokenizer:  # noqa: ANN401
        """The tokenizer of a checkpoint directory.

        Raises:
            CheckpointError: Files are missing or unreadable, or a control token is not in the vocabulary.
        """

    @abstractmethod
    def prompt_builder(self, directory: Path, config: Any, tokenizer: Tokenizer, prompt_text: str) -> PromptBuilder:  # noqa: ANN401
        """What turns expressions into prompts. Raises CheckpointError when the chat template is not usable."""

    @abstractmethod
    def map_tensor(self, key: str, config: Any) -> TensorMapping | None:  # noqa: ANN401
        """Where a published tensor of the language side goes; ``None`` if the name is not one of the family's."""

    @abstractmethod
    def published_name(self, name: str, config: Any) -> str:  # noqa: ANN401
        """The published name that :meth:`map_tensor` maps to our parameter ``name`` (among others, where fused)."""

    @abstractmethod
    def read_pictures(
        self,
        source: FrameSource,
        keyframes: Sequence[int],
        config: Any,  # noqa: ANN401
        *,
        resize_on: torch.device | None = None,
    ) -> Pictures:
        """Read what the tower sees: the keyframes of a video, or an image.

        Args:
            source: The video or image.
            keyframes: Frame indices; an image has the one frame.
            config: Of the checkpoint.
            resize_on: Device that resizes frames, to the same pixels; ``None`` leaves it to the CPU.

        Raises:
            VideoError: A frame cannot be read.
        """

    def prefix_positions(self, ids: Sequence[int], images: ImageTokens, image_id: int) -> Tensor:
        """Positions of the beginning of a prompt, int64 ``[streams, len(ids)]``.

        Text behind it goes on from the maximum. One stream, 0, 1, 2, ..., unless a family says otherwise.
        """
        return torch.arange(len(ids))[None]

    def prefill_inputs(self, images: ImageTokens, at_image: Tensor) -> dict[str, Any]:
        """More inputs of the language model for the pass that reads the images; ``at_image`` is bool ``[1, L]``."""
        return {}
