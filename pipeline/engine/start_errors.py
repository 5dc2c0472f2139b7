"""What to do when Ray does not start on this machine: one known cure for each of its messages."""

import re

CURES = {
    r"AF_UNIX path length|validate_socket_filename": "sockets need a short path: set RAY_TMPDIR to a shorter folder",
    r"No space left|Disk quota": "free space for temporary files, or set RAY_TMPDIR to a short folder on another disk",
    r"Permission denied|Read-only file system": "set RAY_TMPDIR to a short folder that can be written",
    r"Too many open files": "allow more open files (ulimit -n 65536)",
    r"can't start new thread|Resource temporarily unavailable": "allow more processes (ulimit -u), or end some",
    r"Cannot allocate memory": "free memory",
}
"""Regular expressions of messages, and what helps."""
ELSE = "it may be short of processor time, memory or space for temporary files: free some"


def cure_of(message: str) -> str | None:
    """What helps against this message; ``None`` where that is not known."""
    return next((cure for pattern, cure in CURES.items() if re.search(pattern, message)), None)


def explain(error: Exception, logs: str | None) -> str:
    """One line about an error at Ray's start.

    Args:
        error: What Ray raised.
        logs: The folder in which its logs were left, if there are any.
    """
    reason = " ".join(str(error).split())
    cure = cure_of(reason) or ELSE
    more = f"; the logs in {logs} say more" if logs else ""
    return f"Ray did not start on this machine ({reason[:300]}); {cure}, and start the same command again{more}"
