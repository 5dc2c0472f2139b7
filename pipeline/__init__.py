"""Videos and sentences in, masks out: Sa2VA-i referring video segmentation as a batch pipeline on Ray."""

__version__ = "0.1.0"
