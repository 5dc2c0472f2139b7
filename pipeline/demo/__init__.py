"""Three short drawn clips with expressions and true masks, to try everything on (``sa2va-i demo``).

``python -m pipeline.workshop.demo_clips`` draws them again. The files are a manifest and a benchmark in MeViS's layout.
"""

from importlib.resources import as_file, files
from pathlib import Path

FILES = ("manifest.jsonl", "meta_expressions.json", "mask_dict.json", "triangles.mp4", "red.mp4", "stars.mp4")


def copy_clips(folder: Path) -> Path:
    """Copy the clips and their JSON files into ``folder``; returns the path of the manifest there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        with as_file(files(__name__) / name) as source:
            (folder / name).write_bytes(source.read_bytes())
    return folder / "manifest.jsonl"
