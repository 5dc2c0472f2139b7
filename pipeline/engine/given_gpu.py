"""What a worker computes on that Ray has given a GPU."""

import logging
import os
from pathlib import Path

import ray
import torch

from pipeline.errors import NodeError

log = logging.getLogger(__name__)

LOGICAL_GPUS = "SA2VA_I_LOGICAL_GPUS"
"""Environment variable of a worker's node: 1 lets workers that were given a GPU compute on the CPU, 0 never does.
Unset, they may where the machine has no GPU: Ray counts GPUs there only if it was started with ``--num-gpus``."""

_SIGNS_OF_A_GPU = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg", "/dev/kfd")


def device_of_worker() -> torch.device:
    """The GPU of this worker, or the CPU if it was given none, or if its GPUs are logical ones.

    Raises:
        NodeError: Ray has given it a GPU that PyTorch cannot use.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    ids = ray.get_gpu_ids()
    if not ids:
        return torch.device("cpu")
    if not gpus_are_logical():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a build for CPUs"
        raise NodeError(
            f"node {ray.util.get_node_ip_address()}: Ray has given this worker GPU {ids[0]}, but PyTorch "
            f"{torch.__version__} ({build}) cannot use it; install a build for this GPU's driver, or set "
            f"{LOGICAL_GPUS}=1 on the node to compute on its CPU"
        )
    log.warning("this worker was given logical GPU %s and computes on the CPU", ids[0])
    return torch.device("cpu")


def gpus_are_logical() -> bool:
    """Whether the GPUs that Ray counts on this machine are only numbers."""
    asked = os.environ.get(LOGICAL_GPUS)
    if asked is not None:
        return asked not in ("", "0")
    visible = os.environ.get("NVIDIA_VISIBLE_DEVICES", "void")  # set by container runtimes that hand GPUs over
    return visible in ("", "void", "none") and not any(Path(path).exists() for path in _SIGNS_OF_A_GPU)
