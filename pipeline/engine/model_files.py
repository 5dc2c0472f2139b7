"""The model's files on every node before the workers that need them start."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import CheckpointError, PipelineError
from pipeline.model.checkpoint.fingerprint import fingerprint
from pipeline.model.checkpoint.locate import PinnedModel, fetch_model, find_model

LOST = (
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.TaskUnschedulableError,
    ray.exceptions.WorkerCrashedError,
)
LOST_WITHIN_S = 60.0
"""Time in which the cluster notices that a node is gone."""
OFFLINE = {"env_vars": {"HF_HUB_OFFLINE": "1"}}
"""Runtime environment of workers: whatever they need of a model is on their node, and nothing asks the Hub."""


@ray.remote(num_cpus=0, max_retries=1)
def _fetch(model: PinnedModel) -> tuple[str, str]:
    """Directory and fingerprint of a model on the node this runs on."""
    directory = fetch_model(model)
    return str(directory), fingerprint(directory)


def fetch_on_nodes(model: PinnedModel, expected: str, *, only_gpus: bool, report_line: Callable[[str], None]) -> None:
    """Have every other node fetch the model, and check that it is the same as on this one.

    A node that is lost meanwhile is left out: workers run elsewhere, and a node that joins later fetches for itself.

    Args:
        model: What to fetch; this node has it.
        expected: Its fingerprint.
        only_gpus: Leave out nodes without GPUs, where no worker will run.
        report_line: Gets a line if there are other nodes, and one for each that is lost.

    Raises:
        PipelineError: A node cannot fetch it, or has another model at that place; names the node.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    nodes = [node for node in nodes if node["Resources"].get("GPU") or not only_gpus]
    if nodes:
        report_line(f"fetching {model} on {len(nodes)} more nodes, where it is not there yet")
    offline = os.environ.get("HF_HUB_OFFLINE", "0")
    waiting = [(node, _fetch_on(node["NodeID"], model, offline)) for node in nodes]
    for node, reference in waiting:
        host = node["NodeManagerHostname"]
        try:
            _, found = _result(reference, host)
        except LOST as error:
            if not _is_lost(node["NodeID"]):
                raise PipelineError(f"on node {host}: the model cannot be fetched ({type(error).__name__})") from error
            report_line(f"node {host} was lost while it fetched the model; the run goes on without it")
            continue
        if found != expected:
            raise CheckpointError(f"{model}: node {host} holds another model at that place than this node")


def model_on_this_node(model: PinnedModel) -> Path:
    """The model's directory, for a worker; on a node that joined after the start it is fetched now."""
    found = find_model(model)
    if found is None:
        here = ray.get_runtime_context().get_node_id()
        found = Path(_result(_fetch_on(here, model, "0"), "this node")[0])
    return found


def _fetch_on(node_id: str, model: PinnedModel, offline: str) -> "ray.ObjectRef[tuple[str, str]]":
    where = NodeAffinitySchedulingStrategy(node_id, soft=False)
    # unlike the worker that may be asking, this task may use the network
    environment = {"env_vars": {"HF_HUB_OFFLINE": offline}}
    return _fetch.options(scheduling_strategy=where, runtime_env=environment).remote(model)


def _is_lost(node_id: str) -> bool:
    """Whether a node is gone; the end of its workers is known before its own."""
    deadline = time.monotonic() + LOST_WITHIN_S
    while any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _result(reference: "ray.ObjectRef[tuple[str, str]]", host: str) -> tuple[str, str]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PipelineError):
            raise type(error.cause)(f"on node {host}: {error.cause}") from error
        raise
