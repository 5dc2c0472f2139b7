"""Small checkpoints of the Qwen-VL families."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.golden.variants import make_variant

QWEN = ("qwen3_vl", "qwen2_5_vl")


@pytest.fixture(scope="session")
def vl_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes (once) a checkpoint of a variant, in float32 with weights of both mask decoders. Not to be changed."""
    folder = tmp_path_factory.mktemp("vl")
    return lambda variant, procedure="sa2va-i": make_variant(folder, variant, 0, procedure, "fp32")


@pytest.fixture(params=QWEN)
def qwen(request: pytest.FixtureRequest, vl_checkpoint: Callable[..., Path]) -> Path:
    """One checkpoint of each Qwen-VL family."""
    return vl_checkpoint(request.param)
