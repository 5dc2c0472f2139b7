"""The software that a result depends on: recorded in ``run.json``, and the same on every node of a run."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.errors import NodeError

PACKAGES = ("sa2va-i-pipeline", "ray", "torch", "transformers", "sam2", "pyarrow", "decord", "av", "pillow")
CODE = "code"
"""Key of the hash of this package's own source: an editable installation keeps its version when its code changes."""
_NOT_COMPARED = ("python", "ray")
"""Ray itself refuses nodes with another Python or Ray."""


def versions() -> dict[str, str]:
    """Versions that a result may depend on, for ``run.json``."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@cache
def software() -> Mapping[str, str]:
    """:func:`versions` of this process, and a hash of this package's source."""
    return {**versions(), CODE: _hash_of_code(Path(__file__).resolve().parents[1])}


def check_software(driver: Mapping[str, str]) -> None:
    """Check that this process runs what the driver runs: masks of two versions must not mix in one dataset.

    Raises:
        NodeError: It does not; the message lists what differs.
    """
    try:
        here = software()
    except PackageNotFoundError as error:
        raise NodeError(f"{error}; install what cluster/constraints.txt lists on every node") from error
    differing = [
        f"{name} {_short(here.get(name))} instead of {_short(value)}"
        for name, value in driver.items()
        if name not in _NOT_COMPARED and _release(here.get(name)) != _release(value)
    ]
    if differing:
        raise NodeError(
            f"runs other software than the driver: {', '.join(differing)}; install the same versions on every node"
        )


def _release(version_text: str | None) -> str | None:
    """A version without the name of the build: nodes with and without a GPU have other builds of the same PyTorch."""
    return None if version_text is None else version_text.partition("+")[0]


def _short(version_text: str | None) -> str:
    return "(none)" if version_text is None else version_text[:20]


def _hash_of_code(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.startswith("workshop/"):  # which no installation has
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()
