"""Whose output it is: a small file that each run writes once, when it begins, and that every write is checked against.

The lock says who is alive; this says who may write. A run that was paused, lost its lock to another one and wakes up
finds another owner here, in its driver and in each of its workers, and writes nothing any more.
"""

import json
import logging
from dataclasses import asdict, dataclass, field, replace

from pipeline.dataset.layout import OWNER_FILE
from pipeline.errors import StorageError
from pipeline.storage import MissingFileError, atomic_write, join, read_bytes, scrub

logger = logging.getLogger(__name__)


class LostOutputError(StorageError):
    """Another run has taken the output over; this one must not write to it any more."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """What the file says.

    Attributes:
        run_id: The run, as in the lock.
        generation: Its number: 1 more than that of the run before it.
        since: Generation from which on staged files count; older ones are of runs that lost the output.
    """

    run_id: str
    generation: int
    since: int = field(default=1, compare=False)


def read_owner(url: str) -> Owner | None:
    """The owner of the output at ``url``; None where no run has begun."""
    file = join(url, OWNER_FILE)
    try:
        return Owner(**json.loads(read_bytes(file)))
    except MissingFileError:
        return None
    except (ValueError, TypeError) as error:
        raise StorageError(f"{scrub(file)}: not readable ({error}); restore it, or name a new --output") from error


def take_ownership(url: str, run_id: str, *, at_least: int = 1) -> Owner:
    """Make a run, which holds the lock, the output's owner.

    Args:
        url: The output.
        run_id: The run.
        at_least: Smallest generation to take, should the file have been removed.
    """
    before = read_owner(url)
    owner = Owner(
        run_id=run_id,
        generation=max(at_least, 1 + (before.generation if before else 0)),
        since=before.since if before else 1,
    )
    _write(url, owner)
    return owner


def disown_earlier(url: str, owner: Owner) -> Owner:
    """Note that ``owner`` has taken up all that earlier runs left: what they still write is of no account."""
    check_owner(url, owner)
    owner = replace(owner, since=owner.generation)
    _write(url, owner)
    return owner


def _write(url: str, owner: Owner) -> None:
    atomic_write(join(url, OWNER_FILE), json.dumps(asdict(owner)).encode())


def check_owner(url: str, owner: Owner) -> None:
    """Raise LostOutputError unless ``owner`` is still the output's owner."""
    now = read_owner(url)
    if now != owner:
        who = f"run {now.run_id} has taken this output over" if now else "its record of runs is gone"
        raise LostOutputError(f"{scrub(url)}: {who} since run {owner.run_id} began; this run stops and writes nothing")
