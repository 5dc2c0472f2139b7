"""Masks of two versions do not mix: a node with other software than the driver does no work of the run."""

from functools import partial
from pathlib import Path

import pytest

from pipeline import run
from pipeline.config import RunConfig
from pipeline.engine.guard import Patience
from pipeline.engine.software import check_software, software
from pipeline.errors import NodeError, PipelineError


def test_the_same_software_is_accepted_in_another_build_too() -> None:
    check_software(software())
    check_software({**software(), "torch": software()["torch"].partition("+")[0] + "+cu128", "python": "3.11.99"})
    check_software({})


@pytest.mark.parametrize(("name", "value"), [("torch", "2.0.0"), ("code", "0" * 64), ("a package", "1.0")])
def test_what_differs_is_named(name: str, value: str) -> None:
    with pytest.raises(NodeError, match=f"other software than the driver: {name} .* instead of {value[:20]}"):
        check_software({**software(), name: value})


def test_the_hash_of_the_code_is_that_of_every_shipped_module(tmp_path: Path) -> None:
    from pipeline.engine.software import _hash_of_code

    (tmp_path / "workshop").mkdir()
    (tmp_path / "a.py").write_text("A = 1\n")
    before = _hash_of_code(tmp_path)
    (tmp_path / "workshop" / "b.py").write_text("B = 1\n")
    assert _hash_of_code(tmp_path) == before
    (tmp_path / "a.py").write_text("A = 2\n")
    assert _hash_of_code(tmp_path) != before


@pytest.mark.slow
@pytest.mark.usefixtures("shared_ray")
def test_a_run_without_a_node_like_the_driver_ends_and_says_what_differs(
    clips: Path, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "software", lambda: {**software(), "pillow": "1.0"})
    quick = Patience(node_s=(0.1,), rest_s=0.1, longest_rest_s=0.5)
    monkeypatch.setattr(run, "WorkerSettings", partial(run.WorkerSettings, patience=quick))
    config = RunConfig(manifest=str(clips / "manifest.jsonl"), model=str(untrained), output=str(tmp_path / "out"))
    with pytest.raises(PipelineError, match=r"node .*: runs other software .*: pillow .* instead of 1\.0") as raised:
        run.annotate(config)
    assert len(str(raised.value).splitlines()) == 1
    assert not list((tmp_path / "out" / "masks").glob("*.parquet"))
