"""Nothing of a stranger's is ever executed: no pickle, no remote code, no eval, no unsafe YAML."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    *ROOT.glob("pipeline/**/*.py"),
    *ROOT.glob("jobs/*.py"),
    *(path for path in ROOT.glob("cluster/**/*") if path.is_file()),
    ROOT / "Makefile",
    ROOT / ".ci" / "run",
]
FORBIDDEN = {
    "remote code": r"trust_remote_code\s*=\s*True",
    "unsafe torch.load": r"torch\.load\((?![^)]*weights_only=True)",
    "pickle": r"\b(pickle|dill|joblib|shelve)\.(load|loads|open)\b|allow_pickle\s*=\s*True",
    "eval": r"(?<![\w.])(eval|exec)\(",
    "unsafe yaml": r"yaml\.(load|unsafe_load|full_load)\(",
    "shell": r"shell\s*=\s*True|os\.system\(",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_sources_hold_no(name: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in SOURCES
        for match in re.finditer(FORBIDDEN[name], path.read_text())
    ]
    assert not found


def test_the_scan_reads_every_room() -> None:
    seen = {path.relative_to(ROOT).parts[0] for path in SOURCES}
    assert {"pipeline", "jobs", "cluster"} <= seen
    names = {path.name for path in SOURCES}
    assert {"annotate.py", "program.py", "annotate.sbatch", "rayjob.yaml", "Dockerfile"} <= names


def test_the_scan_sees_what_it_forbids() -> None:
    samples = [
        "trust_remote_code=True",
        "torch.load(path)",
        "pickle.load(f)",
        "eval(text)",
        "yaml.load(f)",
        "shell=True",
    ]
    for pattern, sample in zip(FORBIDDEN.values(), samples, strict=True):
        assert re.search(pattern, sample)
    assert not re.search(FORBIDDEN["unsafe torch.load"], "torch.load(path, weights_only=True)")


def test_every_dependency_has_an_upper_bound() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    for requirement in re.findall(r'^\s+"([^"]+)"', block, re.M):
        assert "<" in requirement or "==" in requirement, requirement
