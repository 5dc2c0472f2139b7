"""Joining a Ray cluster, or starting a private one on this machine."""

import atexit
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.engine.start_errors import explain
from pipeline.errors import PipelineError

LONGEST_BASE = 24
"""Bytes of a temporary folder's path that leave room for :data:`PREFIX` and Ray's names of sockets."""
PREFIX = "sa2va-i-"


def prepare(address: str | None = None) -> None:
    """Call before Ray is first imported (it reads its authentication settings then).

    A cluster started by :func:`connect` is reachable only with a random token that never leaves this process and its
    workers: Ray runs whatever a stranger who reaches its ports asks for. Settings of your own are respected.
    """
    if _resolve(address) != "local":
        return
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def connect(address: str | None = None) -> bool:
    """Join the cluster at ``address``, ``RAY_ADDRESS``, or the one ``ray start`` left on this machine; else start one.

    Args:
        address: As for ``ray.init``; ``local`` always starts a new cluster.

    Returns:
        Whether it is a cluster of several that others may add nodes to.

    Raises:
        PipelineError: There is no cluster where one should be.
    """
    import ray

    if ray.is_initialized():
        return True
    where = _resolve(address)
    if where == "local":
        _start_private()
        return False
    try:
        with _own_handler_of_sigterm():
            ray.init(address=where, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise PipelineError(
            f"no Ray cluster answers at {where} ({error}); start one with ray start --head, or give --address local"
        ) from error
    return True


def disconnect() -> None:
    """Leave the cluster, if this process is in one; what workers still had to say is printed before this returns."""
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


@contextmanager
def _own_handler_of_sigterm() -> Iterator[None]:
    """Keep the program's handler, which ends a run in good order: Ray replaces it by one that aborts the process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _start_private() -> None:
    """Start a cluster of this machine's own. Raises PipelineError, which says what helps."""
    import ray

    folder = None
    try:
        folder = _private_folder()
        with _own_handler_of_sigterm():
            ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING, _temp_dir=folder)
    except Exception as error:  # Ray raises plain ones
        sessions = Path(folder) if folder else Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"  # noqa: S108
        logs = next(sessions.glob("session_latest/logs"), None)
        if logs is not None:
            atexit.unregister(_remove)  # whoever reads the message will look for them
        raise PipelineError(explain(error, str(logs) if logs else None)) from error


def _private_folder() -> str | None:
    """A folder for a cluster of this machine's own that nobody else may enter: Ray opens its session's to everyone.

    Short, since paths of sockets are bounded (107 bytes) and batch systems set long temporary folders. Removed when
    this process ends. ``None`` where the user named one by ``RAY_TMPDIR``.
    """
    if os.environ.get("RAY_TMPDIR"):
        return None
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=base if len(os.fsencode(base)) <= LONGEST_BASE else "/tmp")  # noqa: S108
    atexit.register(_remove, folder)
    return folder


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def resources_of_nodes(without: Collection[str] = ()) -> list[dict[str, float]]:
    """The resources of every living node, but for those with the ids ``without``."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in without]


def request_resources(bundles: list[dict[str, float]]) -> None:
    """Ask the cluster's autoscaler, if it has one, for room for ``bundles``; an empty list takes the wish back."""
    from ray.autoscaler.sdk import request_resources as ask

    ask(bundles=bundles)


def _resolve(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or ("auto" if _is_running_here() else "local")


def _is_running_here() -> bool:
    """Whether ``ray start`` left a cluster on this machine that still listens."""
    # it notes its address in this file (see the documentation of ray.init) and leaves it behind when it is killed
    noted = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"  # noqa: S108
    try:
        host, _, port = noted.read_text(encoding="utf-8").strip().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except (OSError, ValueError):
        return False
