"""From what ``--model`` says to a local checkpoint directory."""

from pathlib import Path

from pipeline.errors import CheckpointError

NANO = "nano"
NANO_DIRECTORY = Path(__file__).parent.parent / "nano" / "checkpoint"
"""The small trained model that comes with the software."""


def locate_model(model: str) -> Path:
    """The local directory of a model given as a path, or ``nano`` for the one that comes with the software.

    Raises:
        CheckpointError: there is no such directory.
    """
    directory = NANO_DIRECTORY if model == NANO else Path(model).expanduser()
    if not directory.is_dir():
        raise CheckpointError(f"{model}: no such model directory")
    return directory.resolve()
