"""Models of the Hugging Face Hub, through its own client and cache (``HF_HOME``, ``HF_TOKEN`` and so on apply)."""

from pathlib import Path

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint.fetch_once import MODEL_FILES

ANSWER_TIMEOUT_S = 30.0


def commit_of(model_id: str, revision: str | None) -> str:
    """The commit a branch, tag or nothing (the default branch) stands for; without network, what was fetched last.

    Raises:
        CheckpointError: no such model or revision, or no network and nothing fetched before.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError

    try:
        commit = HfApi().model_info(model_id, revision=revision, timeout=ANSWER_TIMEOUT_S).sha
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise _refusal(model_id, revision, error) from error
    except (HTTPError, OSError) as error:
        cached = _cached(model_id, revision)
        if cached is None:
            raise _refusal(model_id, revision, error) from error
        return cached.name
    if commit is None:
        raise CheckpointError(f"{model_id}: the Hub names no commit for {revision or 'its default branch'}")
    return commit


def download(model_id: str, commit: str) -> Path:
    """The directory of a model in the Hub client's cache; what is missing is fetched, where the Hub answers.

    Raises:
        CheckpointError: it cannot be fetched; says what to do.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HTTPError

    try:
        HfApi().model_info(model_id, revision=commit, timeout=ANSWER_TIMEOUT_S)
    except (HTTPError, OSError):
        cached = _cached(model_id, commit)  # the client itself would ask for half a minute before it looks there
        if cached is not None:
            return cached
    try:
        return Path(snapshot_download(model_id, revision=commit, allow_patterns=list(MODEL_FILES)))
    except (HTTPError, OSError) as error:
        raise _refusal(model_id, commit, error) from error


def _cached(model_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _refusal(model_id: str, revision: str | None, error: Exception) -> CheckpointError:
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return CheckpointError(f"{model_id}: its owner asks for consent; give it on the Hub's page, then hf auth login")
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return CheckpointError(
            f"{model_id}: no such directory here and no such model on the Hub (a private one needs hf auth login)"
        )
    if isinstance(error, RevisionNotFoundError):
        return CheckpointError(f"{model_id}: has no revision {revision!r} on the Hub")
    first_line = (str(error).strip().splitlines() or [""])[0]
    return CheckpointError(
        f"{model_id}: not on this machine, and the Hub does not answer ({type(error).__name__}: {first_line[:160]}); "
        f"where there is network: hf download {model_id} --local-dir DIR, then give --model DIR"
    )
