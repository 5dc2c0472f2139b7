"""The few ways this software fails, and the exit code each of them ends a command with."""


class PipelineError(Exception):
    """Base of every error raised on purpose; its message says what happened, to which file, and what to do."""

    exit_code = 3


class UsageError(PipelineError):
    """The user asked for something that cannot be: bad argument, bad manifest, mismatching output directory."""

    exit_code = 2


class MissingPackageError(PipelineError, ImportError):
    """A Python package that is needed is not installed; the message is the command that installs it."""


class CheckpointError(PipelineError):
    """A model directory is not a usable checkpoint. Raised before any video is touched."""


class StorageError(PipelineError):
    """The output (or input) storage failed for good: full disk, permission, missing bucket."""


class StorageUnavailableError(StorageError):
    """A storage does not answer (5xx, timeouts, refused connections), also after retries. No video is to blame."""


class AccessDeniedError(StorageError):
    """A storage refuses the run's credentials: missing, wrong or expired. No video is to blame."""


class NodeError(PipelineError):
    """This machine cannot work on any video: disk full, no memory, no file descriptors, no process can be started.

    Ends the worker. No video is to blame, so none is marked as failed and no attempt is counted.
    """


class VideoError(PipelineError):
    """One video or image cannot be read. Costs that video's rows only: they become ``failed`` rows."""


class UnreachableVideoError(VideoError):
    """The host of a video's ``http(s)://`` URL does not serve it: refused, expired, or no answer.

    A single one is that video's failure. Many in a row, with nothing else served, are an outage.
    """
