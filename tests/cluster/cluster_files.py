"""The cluster files as parsed, for the tests beside this file."""

import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
SCHEMAS = ROOT.parent / "shared" / "schemas"
RAYCLUSTER = CLUSTER / "kuberay" / "raycluster.yaml"
RAYJOB = CLUSTER / "kuberay" / "rayjob.yaml"
NETWORK_POLICY = CLUSTER / "kuberay" / "network-policy.yaml"
VM_CLUSTER = CLUSTER / "ray-cluster.yaml"
SLURM = CLUSTER / "slurm" / "annotate.sbatch"
DOCKERFILE = CLUSTER / "Dockerfile"


@cache
def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def cluster_specs() -> dict[str, dict[str, Any]]:
    """Every RayClusterSpec there is, by file name."""
    return {RAYCLUSTER.name: load(RAYCLUSTER)["spec"], RAYJOB.name: load(RAYJOB)["spec"]["rayClusterSpec"]}


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def tool(name: str) -> str:
    """A linter of the development dependencies; a missing one is a broken environment, not a reason to skip."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is not installed; pip install -e '.[dev]'"
    return found
