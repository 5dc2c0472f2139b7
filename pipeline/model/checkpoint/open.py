"""A checkpoint directory as loaders take it: its config, and an index of its tensors in which every one has a place."""

import math
from pathlib import Path

from pipeline.model.checkpoint.names import grounder_mappings, segmenter_mappings
from pipeline.model.checkpoint.weights import CheckpointFiles, check_all_consumed
from pipeline.model.families import read_config
from pipeline.model.families.base import ModelConfig


def open_checkpoint(directory: Path) -> tuple[CheckpointFiles, ModelConfig]:
    """Read a checkpoint's config and file index, and refuse it if any of its tensors has no place in the model."""
    config = read_config(directory)
    files = CheckpointFiles(directory)
    check_all_consumed(files, grounder_mappings(files.file_of, config), segmenter_mappings(files.file_of))
    return files, config


def grounder_parameters(directory: Path) -> int:
    """Numbers in the weights of a checkpoint's tower and language model, counted from the files' headers."""
    files, config = open_checkpoint(directory)
    shapes = files.shapes()
    return sum(math.prod(shapes[key]) for key in grounder_mappings(files.file_of, config))
