"""The documents: links lead somewhere, commands and options exist, the main README stays short."""

import re
from pathlib import Path

import pytest

from pipeline.cli.verbs import VERBS, verb_named
from pipeline.settings import settings_of
from tests.conftest import ROOT

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
DOCUMENTS = [ROOT / name for name in TOP] + sorted(
    path for room in ("pipeline", "cluster") for path in (ROOT / room).rglob("*.md")
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """Headings of a document as hosts turn them into anchors."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings_that_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file) if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_and_options_exist(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    commands = re.findall(r"(?:sa2va-i |jobs/)(\w+)(?:\.py)?((?:[^\n`|]|\\\|)*)", text)
    for verb, rest in commands:
        if verb not in VERBS:
            continue
        options = {f"--{setting.name.replace('_', '-')}" for setting in settings_of(verb_named(verb).Options)}
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]+", rest)) <= options | {"--help"}, (verb, rest)
    for module in re.findall(r"python -m ([\w.]+)", text):
        file = ROOT / Path(*module.split("."))
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module


def test_the_main_readme_is_for_a_stranger() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 180
    assert "![" in "\n".join(text.splitlines()[:20])


def test_every_exit_code_and_verb_is_named() -> None:
    text = "".join(path.read_text() for path in DOCUMENTS)
    assert all(f"sa2va-i {verb}" in text for verb in VERBS)
