"""A worker that was given a GPU computes on it or says why not; it never falls back to the CPU unasked."""

import pytest
import ray
import torch

from pipeline.engine import given_gpu
from pipeline.engine.given_gpu import LOGICAL_GPUS, device_of_worker
from pipeline.errors import NodeError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A worker with GPU 3, on a machine whose CUDA does not work."""
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [3])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(LOGICAL_GPUS, raising=False)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(given_gpu, "_SIGNS_OF_A_GPU", ("/dev/null",))
    return monkeypatch


def test_an_unusable_gpu_is_refused_in_one_line(given: pytest.MonkeyPatch) -> None:
    with pytest.raises(NodeError, match=r"given this worker GPU 3, but PyTorch .* cannot use it") as error:
        device_of_worker()
    assert "\n" not in str(error.value)


def test_also_in_a_container_that_was_handed_a_gpu(given: pytest.MonkeyPatch) -> None:
    given.setattr(given_gpu, "_SIGNS_OF_A_GPU", ())
    given.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    with pytest.raises(NodeError):
        device_of_worker()


@pytest.mark.parametrize("asked_by", ["variable", "ray start --num-gpus on a machine without any"])
def test_logical_gpus_compute_on_the_cpu(given: pytest.MonkeyPatch, asked_by: str) -> None:
    if asked_by == "variable":
        given.setenv(LOGICAL_GPUS, "1")
    else:
        given.setattr(given_gpu, "_SIGNS_OF_A_GPU", ())
    assert device_of_worker() == torch.device("cpu")


def test_the_variable_can_also_forbid_it(given: pytest.MonkeyPatch) -> None:
    given.setattr(given_gpu, "_SIGNS_OF_A_GPU", ())
    given.setenv(LOGICAL_GPUS, "0")
    with pytest.raises(NodeError):
        device_of_worker()


def test_without_a_gpu_it_is_the_cpu(given: pytest.MonkeyPatch) -> None:
    given.setattr(ray, "get_gpu_ids", list)
    assert device_of_worker() == torch.device("cpu")
