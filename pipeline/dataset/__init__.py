"""The mask dataset: encoding, committing, resuming and reading it."""

from pipeline.dataset.output import OutputDirectory
from pipeline.dataset.reader import MaskDataset, MaskRecord
from pipeline.dataset.writer import DatasetWriter
from pipeline.masks import areas_and_bboxes, decode_mask, decode_masks, encode_masks, validate_rle

__all__ = [
    "DatasetWriter",
    "MaskDataset",
    "MaskRecord",
    "OutputDirectory",
    "areas_and_bboxes",
    "decode_mask",
    "decode_masks",
    "encode_masks",
    "validate_rle",
]
