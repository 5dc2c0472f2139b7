"""What the error of a storage's client means: missing, refused, worth another attempt.

Every client has classes of its own. They are told by the names of their packages and classes, so that none of the
clients has to be installed.
"""

import errno
import re

from pipeline.errors import AccessDeniedError, StorageError, StorageUnavailableError
from pipeline.storage.urls import is_local, scrub

_TRANSIENT_ERRNOS = {
    getattr(errno, name)
    for name in (
        "EIO",
        "EREMOTEIO",
        "EBUSY",
        "EAGAIN",
        "ETIMEDOUT",
        "ECONNRESET",
        "ECONNREFUSED",
        "EPIPE",
        "EHOSTUNREACH",
    )
    if hasattr(errno, name)
}

_CLIENT_PACKAGES = frozenset(
    {
        "botocore",
        "aiobotocore",
        "aiohttp",
        "google",
        "gcsfs",
        "azure",
        "adlfs",
        "huggingface_hub",
        "requests",
        "urllib3",
        "httpx",
        "httpcore",
        "httpx2",
        "httpcore2",
    }
)
"""Packages of storage clients, told by an error's module, so that none of them has to be installed."""
_REFUSED_CREDENTIALS = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"),  # Amazon
        *("DefaultCredentialsError", "RefreshError", "MalformedError"),  # Google
        *("ClientAuthenticationError", "CredentialUnavailableError", "GatedRepoError"),  # Azure, Hugging Face
    }
)
_REFUSED_CODES = frozenset(
    ("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "AccessDenied", "RequestExpired")
)


_REFUSED_BY_CLIENT = frozenset({"ParamValidationError", "InvalidURL", "InvalidUrlClientError", "ValidationError"})
"""A client's word for a request that it will not even send, for example to a bucket whose name cannot be."""
_USER_INFO = re.compile(r"[^\s/'\"?#@:]+:[^\s/'\"?#@]+@")
"""User and password where a client cut off the URL's scheme before it."""


class MissingFileError(StorageError):
    """There is no such file, folder or bucket."""


def explain(error: Exception, url: str, doing: str) -> StorageError | None:
    """The error to show instead of ``error``; None when it is no storage failure at all."""
    what = f"{scrub(url)}: cannot {doing}"
    if isinstance(error, StorageError) or not (
        isinstance(error, OSError) or _is_client_error(error) or _is_googles(error, url, "Bad Request:")
    ):
        return None
    status = _http_status(error, url)
    if status == 404 or (status is None and _is_missing(error, url)):
        return MissingFileError(f"{what}: no such file, folder or bucket (404)")
    if status == 410:
        return MissingFileError(f"{what}: HTTP 410: it is gone for good")
    if _is_refused(error, status, url):
        if url.startswith(("http://", "https://")):
            return AccessDeniedError(f"{what}: HTTP {status or 403}: access denied, or the presigned URL has expired")
        return AccessDeniedError(f"{what}: access denied ({status or 403}); check permissions and credentials")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{what}: no space left; free some and start the same command again")
    cause = _client_cause(error)
    reason = f"HTTP {status}" if status else f"{type(cause).__name__}: {_told_without_secrets(cause)}"
    if is_transient(error, url):
        return StorageUnavailableError(f"{what}: the storage does not answer ({reason})")
    return StorageError(f"{what}: {reason}")


def is_transient(error: Exception, url: str) -> bool:
    """Whether another attempt may succeed: no answer, 408, 429 or 5xx."""
    if is_local(url):
        return False
    status = _http_status(error, url)
    if status is not None:
        return status in (408, 429) or status >= 500
    if (
        _is_missing(error, url)
        or _is_refused(error, status, url)
        or type(_client_cause(error)).__name__ in _REFUSED_BY_CLIENT
    ):
        return False
    if isinstance(error, TimeoutError | ConnectionError) or _is_client_error(_client_cause(error)):
        return True
    return isinstance(error, OSError) and (error.errno is None or error.errno in _TRANSIENT_ERRNOS)


def _is_googles(error: Exception, url: str, beginning: str) -> bool:
    """Whether gcsfs made a plain OSError or ValueError of an answer; only its text then tells which answer."""
    return url.startswith(("gs://", "gcs://")) and str(error).startswith(beginning)


def _told_without_secrets(error: BaseException) -> str:
    return _USER_INFO.sub("***@", scrub(" ".join(str(error).split())))


def _is_client_error(error: BaseException) -> bool:
    """Whether a storage client raised this; their classes do not derive from OSError."""
    return any(kind.__module__.split(".")[0] in _CLIENT_PACKAGES for kind in type(error).__mro__)


def _client_cause(error: BaseException) -> BaseException:
    """What a client said before fsspec made "file not found" of it, as its HTTP filesystem does with any failure."""
    cause: BaseException | None = error
    while cause is not None:
        if _is_client_error(cause) or isinstance(cause, TimeoutError):
            return cause
        cause = cause.__cause__
    return error


def _http_status(error: Exception, url: str) -> int | None:
    """The status of the answer that made a client raise ``error``; None where there was no answer."""
    if is_local(url):
        return None
    cause = _client_cause(error)
    response = getattr(cause, "response", None)
    values = [getattr(cause, name, None) for name in ("status", "status_code", "code")]
    if isinstance(response, dict):  # botocore's
        values.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    elif response is not None:
        values += [getattr(response, "status_code", None), getattr(response, "status", None)]
    for value in values:
        if isinstance(value, int | str) and str(value).isdigit() and 400 <= int(value) < 600:
            return int(value)
    return None


def _is_missing(error: Exception, url: str) -> bool:
    """Whether there is no such file. fsspec's HTTP filesystem says so of every failure, so its cause decides."""
    if not isinstance(error, FileNotFoundError):
        return type(error).__name__ in ("ResourceNotFoundError", "NotFound", "NoSuchKey", "NoSuchBucket")
    return not url.startswith(("http://", "https://")) or _client_cause(error) is error


def _is_refused(error: Exception, status: int | None, url: str) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return (
        isinstance(error, PermissionError)
        or status in (401, 403)
        or _is_googles(error, url, "Forbidden:")
        or code in _REFUSED_CODES
        or (status is None and bool(names & _REFUSED_CREDENTIALS) and not getattr(error, "retryable", False))
    )
