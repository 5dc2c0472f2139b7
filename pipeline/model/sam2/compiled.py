"""SAM 2 with less work for the host: the image encoder through ``torch.compile``, and steps as CUDA graphs.

A GPU finishes small kernels faster than Python starts them. A graph starts all kernels of a step at once, on tensors of
fixed addresses, so that it holds for one combination of shapes. Where there is no recorder of graphs, as on a CPU,
steps run as they are.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

MOST_GRAPHS = 32
"""Each keeps its intermediate results in GPU memory for good; steps of further shapes run as they are."""
_RUNS_BEFORE_RECORDING = 3
"""In which libraries choose their kernels and allocate their workspaces."""

Tensors = tuple[Tensor, ...]
Recorder = Callable[[Callable[[], Tensors]], tuple[Tensors, Callable[[], None]]]
"""Takes a step, and returns its output tensors and a call that computes them again from what its inputs hold then."""


def record_cuda_graph(step: Callable[[], Tensors]) -> tuple[Tensors, Callable[[], None]]:
    """The :data:`Recorder` of a CUDA device. The step must not wait for the GPU."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_RUNS_BEFORE_RECORDING):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = step()
    return outputs, graph.replay


@dataclass(frozen=True)
class _Graph:
    """A recorded step."""

    inputs: list[Tensor]
    outputs: Tensors
    replay: Callable[[], None]

    def run(self, inputs: Sequence[Tensor]) -> Tensors:
        torch._foreach_copy_(self.inputs, list(inputs))
        self.replay()
        # the next replay overwrites the outputs
        return tuple(output.clone() for output in self.outputs)


class StepGraphs:
    """Steps that are recorded when they first meet a combination of shapes, and replayed from then on.

    Args:
        recorder: Records a step; ``None`` runs every step as it is.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._graphs: dict[tuple[object, ...], _Graph] = {}

    def run(self, name: str, step: Callable[..., Tensors], inputs: Sequence[Tensor]) -> Tensors:
        """What ``step(*inputs)`` gives.

        Args:
            name: Of the step: two steps that compute something else from tensors of equal shapes differ in it.
            step: Depends on its inputs alone, and on weights that do not change.
            inputs: Tensors of one device.
        """
        if self._recorder is None:
            return step(*inputs)
        key = (name, *((tuple(tensor.shape), tensor.dtype) for tensor in inputs))
        graph = self._graphs.get(key)
        if graph is None:
            if len(self._graphs) >= MOST_GRAPHS:
                log.debug("%s: %d graphs are kept; shapes %s run without one", name, MOST_GRAPHS, key[1:])
                return step(*inputs)
            fixed = [tensor.clone() for tensor in inputs]
            outputs, replay = self._recorder(lambda: step(*fixed))
            graph = self._graphs[key] = _Graph(fixed, outputs, replay)
        return graph.run(inputs)


class CompiledEncoder:
    """An image encoder that sees batches of two sizes only: single frames, and full batches.

    Args:
        encoder: SAM 2's image encoder.
        batch: Frames of a full batch; fewer are filled up with copies of the last one.
        graphs: Records the compiled encoder.
    """

    def __init__(self, encoder: nn.Module, batch: int, graphs: StepGraphs) -> None:
        self.batch = batch
        self._graphs = graphs
        self._levels = torch.compile(lambda pixels: tuple(encoder(pixels)["backbone_fpn"]), dynamic=False)

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``[N, C, h, w]``, fine to coarse, of normalised frames ``[N, 3, S, S]``."""
        parts = [self._padded(part) for part in pixels.split(self.batch)]
        return [torch.cat(levels) for levels in zip(*parts, strict=True)]

    def _padded(self, pixels: Tensor) -> Tensors:
        count = len(pixels)
        missing = self.batch - count if count > 1 else 0
        full = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)]) if missing else pixels
        return tuple(level[:count] for level in self._graphs.run("image encoder", self._levels, (full,)))
