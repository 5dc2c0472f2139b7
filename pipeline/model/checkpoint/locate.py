"""From what ``--model`` says to a checkpoint directory on this machine.

The driver pins a model once (which directory, which commit); any machine then fetches exactly that, at most once.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint import fetch_hub, fetch_url
from pipeline.model.checkpoint.fetch_once import fetch_once, find_fetched
from pipeline.storage import absolute, is_local, scrub

NANO = "nano"
NANO_DIRECTORY = Path(__file__).parents[1] / "nano"
"""The small trained model that comes with the software."""

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, kw_only=True)
class PinnedModel:
    """One exact model, wherever it is kept; small, and travels between machines.

    Attributes:
        kind: ``nano``, ``directory``, ``url`` or ``hub``.
        source: Absolute directory, URL, or Hub id.
        revision: Of a Hub model its commit; of a URL a hash of its files' names, sizes and versions; else none.
    """

    kind: str
    source: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.source}@{self.revision}" if self.kind == "hub" else scrub(self.source)

    def describe(self) -> dict[str, str | None]:
        """For ``run.json``."""
        return asdict(self)


def pin_model(model: str) -> PinnedModel:
    """Find out which model is meant: ``nano``, a local directory, an fsspec URL of one, or a Hub id[@revision].

    Raises:
        CheckpointError: no such model, or the network is needed and does not answer; says what to do.
        StorageError: the storage of a URL does not answer.
    """
    if model == NANO:
        return PinnedModel(kind="nano", source=NANO)
    if not is_local(model):
        return PinnedModel(kind="url", source=absolute(model), revision=fetch_url.revision_of(model))
    directory = Path(absolute(model)).expanduser()
    if directory.is_dir():
        return PinnedModel(kind="directory", source=str(directory.resolve()))
    hub = _HUB_ID.fullmatch(model)
    if hub is None or model.startswith(("./", "../")):
        raise CheckpointError(f"{model}: no such model directory")
    return PinnedModel(kind="hub", source=hub["id"], revision=fetch_hub.commit_of(hub["id"], hub["revision"]))


def find_model(model: PinnedModel) -> Path | None:
    """The directory of a pinned model if this machine has all of it; asks no network.

    Raises:
        CheckpointError: it is a local directory, and it is not there.
    """
    if model.kind in ("nano", "directory"):
        directory = NANO_DIRECTORY if model.kind == "nano" else Path(model.source)
        if not directory.is_dir():
            raise CheckpointError(f"{model.source}: no such model directory on this machine")
        return directory
    return find_fetched(model.source, model.revision or "")


def fetch_model(model: PinnedModel) -> Path:
    """The directory of a pinned model on this machine; fetched if it is not there yet, by one process at a time.

    Safe to call from any number of processes.

    Raises:
        CheckpointError: it is not on this machine and cannot be fetched, or what was fetched is not complete.
        StorageError: the storage of a URL does not answer.
    """
    source, revision = model.source, model.revision or ""
    if model.kind == "url":
        return fetch_once(source, revision, lambda folder: fetch_url.download(source, revision, folder))
    if model.kind == "hub":
        return fetch_once(source, revision, lambda _: fetch_hub.download(source, revision))
    found = find_model(model)
    assert found is not None
    return found
