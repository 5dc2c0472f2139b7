"""The arranged memory attention gives what the published arrangement of it gives."""

import pytest
import torch

from pipeline.model.config import GroundingConfig
from pipeline.model.sam2.attention import blocked_attention
from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.memory import MemoryBank, MemoryEntry, ProjectedMemories, attend, attend_cached
from pipeline.model.sam2.segmenter import Segmenter

torch.set_num_threads(1)


def small_segmenter(side: int) -> Segmenter:
    torch.manual_seed(0)
    config = GroundingConfig(
        image_size=side, trunk_embed_dim=16, trunk_stages=(1, 1, 1, 1), trunk_global_attention_blocks=(),
        d_model=64, memory_dim=16, memory_attention_layers=3, memory_attention_feedforward=64,
    )  # fmt: skip
    return Segmenter(config, has_original=False).eval().finish(torch.device("cpu"))


def frame_of(segmenter: Segmenter) -> FrameFeatures:
    width, size = segmenter.config.d_model, segmenter.config.feature_size
    return FrameFeatures(tuple(torch.randn(1, width, size * n, size * n) for n in (4, 2, 1)))  # type: ignore[arg-type]


def entry_of(segmenter: Segmenter, objects: int) -> MemoryEntry:
    config = segmenter.config
    grid = torch.randn(objects, config.memory_dim, config.feature_size, config.feature_size)
    return MemoryEntry(grid.bfloat16(), torch.randn(objects, config.d_model))


@pytest.mark.parametrize("side", [128, 512], ids=["fused", "blocked"])
@pytest.mark.parametrize(("objects", "budget"), [(1, 0), (2, 2**30)], ids=["nothing kept", "kept"])
def test_a_video_of_frames_equals_the_plain_form(side: int, objects: int, budget: int) -> None:
    segmenter = small_segmenter(side)
    bank = MemoryBank(20)
    projected = ProjectedMemories(segmenter.memory_reader, budget)
    bank.conditioning = {0: entry_of(segmenter, objects), 5: entry_of(segmenter, objects)}
    with torch.inference_mode():
        for index in (1, 2, 3, 6, 7):
            frame = frame_of(segmenter)
            found = attend_cached(segmenter, frame, bank, projected, index)
            torch.testing.assert_close(found, attend(segmenter, frame, bank, index), atol=1e-5, rtol=1e-4)
            bank.remember(index, entry_of(segmenter, objects))
    assert projected.size_bytes <= budget


def test_only_attended_memories_are_kept() -> None:
    segmenter = small_segmenter(128)
    bank, projected = MemoryBank(60), ProjectedMemories(segmenter.memory_reader, 2**30)
    bank.conditioning[0] = entry_of(segmenter, 2)
    sizes = []
    with torch.inference_mode():
        for index in range(1, 25):
            attend_cached(segmenter, frame_of(segmenter), bank, projected, index)
            sizes.append(projected.size_bytes)
            bank.remember(index, entry_of(segmenter, 2))
    assert sizes[3] > sizes[0]
    assert sizes[-1] == sizes[10] == 7 * sizes[0]


def test_objects_in_several_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, objects = small_segmenter(128), 5
    bank = MemoryBank(20, {0: entry_of(segmenter, objects)})
    frame = frame_of(segmenter)
    with torch.inference_mode():
        whole = attend_cached(segmenter, frame, bank, ProjectedMemories(segmenter.memory_reader, 2**30), 1)
        monkeypatch.setattr(segmenter.memory_reader, "working_bytes", 200_000)
        assert segmenter.memory_reader._objects_at_once(
            [segmenter.memory_reader.project(bank.conditioning[0].features, 6, fixed=True)], torch.zeros(5, 4, 16)
        ) in (1, 2)
        parts = attend_cached(segmenter, frame, bank, ProjectedMemories(segmenter.memory_reader, 2**30), 1)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.1, 30.0], ids=["soft", "one key takes all"])
def test_blocked_attention_with_narrow_values(scale: float) -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(300, 64) * scale, [torch.randn(n, 64) * scale for n in (1000, 7, 500)]
    values = [torch.randn(len(piece), 16) for piece in keys]
    expected = ((queries.double() @ torch.cat(keys).double().T) / 8).softmax(-1) @ torch.cat(values).double()
    with torch.inference_mode():
        torch.testing.assert_close(blocked_attention(queries, keys, values).double(), expected, atol=1e-4, rtol=1e-4)
