"""Who may import whom: the product never imports the workshop, and model and video never import Ray."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "pipeline"


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def found(files: list[Path], module: str) -> list[str]:
    """``file: import`` wherever one of the files imports the module or something in it."""
    assert files
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports_of(path)
        if name == module or name.startswith(f"{module}.")
    ]


def test_nothing_that_ships_imports_the_workshop() -> None:
    shipped = [path for path in PACKAGE.rglob("*.py") if "workshop" not in path.relative_to(PACKAGE).parts]
    assert not found([*shipped, *(ROOT / "jobs").glob("*.py")], "pipeline.workshop")
    assert not found(shipped, "tests")


@pytest.mark.parametrize("room", ["model", "video"])
def test_the_rooms_below_ray_never_import_it(room: str) -> None:
    files = list((PACKAGE / room).rglob("*.py"))
    for above in ("ray", "pipeline.engine", "pipeline.stages", "pipeline.run", "pipeline.cli"):
        assert not found(files, above)


def test_only_the_programs_use_the_command_line() -> None:
    rooms = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in ("cli", "workshop")]
    assert not found(rooms, "pipeline.cli")
    assert not found(rooms, "argparse")


def test_the_check_sees_an_import(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    from pipeline import workshop\n")
    assert list(imports_of(tmp_path / "a.py")) == ["pipeline", "pipeline.workshop"]
