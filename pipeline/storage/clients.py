"""The storage clients, each set up so that a request is sent once: :mod:`pipeline.storage.retries` repeats it.

Each client repeats failed requests in its own way: gcsfs for half a minute with a traceback in the log for every
failure, Azure's with a first pause of 15 s. A single lost answer would then cost 15 s, and a storage that is gone would
be noticed after ten minutes.
"""

import os
from typing import Any

import fsspec

# gcsfs reads this when it is imported. It would ask for each bucket's type by gRPC,
# and warn at every request where it may not do so.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

_S3_CLIENT = {
    "retries": {"total_max_attempts": 1},
    # Some servers give a whole object's checksum with a part of it, or refuse requests that carry one.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


def make_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The client of a URL's storage and the path in it.

    Args:
        url: With a scheme, and not of this machine.

    Raises:
        ValueError: The scheme is unknown, or a client misses its settings.
        ImportError: The package that serves the scheme is not installed.
    """
    options: dict[str, Any] = {"use_listings_cache": False}  # another process adds files while this one looks
    scheme = url.partition("://")[0]
    if scheme in ("s3", "s3a"):
        options["config_kwargs"] = _S3_CLIENT
    filesystem, path = fsspec.url_to_fs(url, **options)
    if scheme in ("gs", "gcs"):
        _send_once_to_google(filesystem)
    elif scheme in ("az", "abfs", "abfss"):
        _send_once_to_azure(filesystem)
    return filesystem, path


def _send_once_to_google(filesystem: Any) -> None:  # noqa: ANN401 - gcsfs may not be installed
    """Take the decorator that repeats off the method that sends every request of this client."""
    once = getattr(type(filesystem)._request, "__wrapped__", None)
    if once is not None:
        filesystem._request = once.__get__(filesystem)


def _send_once_to_azure(filesystem: Any) -> None:  # noqa: ANN401 - adlfs may not be installed
    """Set the retry policy, which adlfs gives no argument for; clients of containers and blobs share it."""
    pipeline = getattr(filesystem.service_client, "_pipeline", None)
    for policy in getattr(pipeline, "_impl_policies", ()):
        if hasattr(policy, "total_retries"):
            policy.total_retries = 0
