import drawn_dataset
import pytest


@pytest.fixture
def dataset(tmp_path):
    """Five rows to judge and one that failed, of two videos."""
    return drawn_dataset.write(tmp_path)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("pipeline.verify.judge.FIRST_PAUSE_S", 0.01)
