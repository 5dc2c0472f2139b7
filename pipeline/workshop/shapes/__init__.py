"""A seeded world of moving shapes: referring video segmentation data with exact ground truth, made on the spot.

    scenes = sample_scenes(4, seed=7)                            # what there is and how it moves
    clip = render(scenes, keyframe_times(scenes, 5), 128, 128)   # pixels and visible masks, only at the times asked for
    sentences = describe(scenes, 0)                              # true, unambiguous expressions of clip 0
    write_benchmark(directory, num_videos=60, seed=1, split="test")     # the same world as a MeViS tree

This is tensor code, drawn and painted in batches for training (on a GPU too), hence torch at module level.
:mod:`vocabulary` holds the closed lists, :mod:`scene` what happens, :mod:`render` the pixels, :mod:`grammar` the
sentences, :mod:`benchmark` and :mod:`demo` the files.
"""

from pipeline.workshop.shapes.grammar import ShapeExpression, describe
from pipeline.workshop.shapes.render import RenderedClips, render
from pipeline.workshop.shapes.scene import Scenes, keyframe_times, sample_scenes

__all__ = ["RenderedClips", "Scenes", "ShapeExpression", "describe", "keyframe_times", "render", "sample_scenes"]
