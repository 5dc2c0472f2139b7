"""The wheel as a stranger gets it: what is in it, and that it works outside the checkout."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from pipeline.cli.verbs import VERBS
from tests.conftest import ROOT


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; it must end with 0."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=500, cwd=cwd, env=inherited | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of what git tracks or would track."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", target]
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=target)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel, and sees its dependencies but not the checkout."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # a path file names a folder without running the path files in it, so an editable install there is not seen
    dependencies = Path(pytest.__file__).parents[1]
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=folder)
    where = run(python, "-c", "import pipeline; print(pipeline.__file__)", cwd=folder).stdout.strip()
    assert Path(where).is_relative_to(packages)
    return folder


@pytest.mark.slow
def test_it_holds_the_product_and_nothing_of_the_workshop_or_the_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(
            archive.read(next(name for name in names if name.endswith("METADATA"))).decode("utf-8")
        )
    assert {
        "pipeline/py.typed",
        "pipeline/model/nano/model.safetensors",
        "pipeline/model/nano/tokenizer.json",
        "pipeline/report/assets/page.js",
        "pipeline/demo/triangles.mp4",
        "pipeline/cli/annotate.py",
    } <= names
    assert not [name for name in names if re.search(r"workshop|(^|/)tests?/|/jobs/", name)]
    tracked = run("git", "ls-files", "pipeline", cwd=ROOT).stdout.splitlines()
    expected = {name for name in tracked if name.endswith(".py") and not name.startswith("pipeline/workshop/")}
    assert {name for name in names if name.endswith(".py")} >= {name for name in expected if (ROOT / name).is_file()}
    assert metadata["Name"] == "sa2va-i-pipeline"
    assert any(line.startswith("Paper,") for line in metadata.get_all("Project-URL", []))
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entry == {"sa2va-i": "pipeline.cli.program:main"}


@pytest.mark.slow
def test_its_program_lists_the_verbs_and_annotates_a_video(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "sa2va-i"
    said = run(program, "--help", cwd=tmp_path).stdout
    assert all(f"\n  {verb} " in said for verb in VERBS)
    packages = next(environment.glob("lib/python*/site-packages"))
    clip = packages / "pipeline" / "demo" / "triangles.mp4"
    expressions = ["--expression", "the white object", "--expression", "both triangles"]
    run(program, "annotate", "--model", "nano", "--video", clip, *expressions, "--output", "out", cwd=tmp_path)
    status = run(program, "status", "out", cwd=tmp_path).stdout
    assert "finished" in status
    again = run(program, "annotate", "--model", "nano", "--video", clip, *expressions, "--output", "out", cwd=tmp_path)
    assert "1 videos in the manifest, 1 of them already done" in again.stdout


@pytest.mark.slow
def test_the_snippet_of_the_readme_runs(environment: Path, tmp_path: Path) -> None:
    """The first Python block: every line ``name  # value`` must show that value."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (snippet,) = [block for block in blocks if "Sa2VA.from_checkpoint" in block]
    checks, promised = [], []
    for line in snippet.splitlines():
        expression, _, comment = line.partition("  # ")
        if comment and isinstance(ast.parse(line).body[0], ast.Expr):
            checks.append(f"print(repr({expression}))")
            promised.append(comment)
        else:
            checks.append(line)
    program = environment / "bin" / "sa2va-i"
    run(program, "demo", "--output", tmp_path / "demo-output", cwd=tmp_path)
    shown = run(environment / "bin" / "python", "-c", "\n".join(checks), cwd=tmp_path).stdout.splitlines()
    assert len(shown) == len(promised) > 0
    assert len(list((tmp_path / "my-masks" / "masks").glob("*.parquet"))) == 1
    for value, comment in zip(shown, promised, strict=True):
        assert value.startswith(comment.split(" ...")[0]), (value, comment)


@pytest.mark.slow
def test_without_sam2_one_line_says_how_to_get_it(environment: Path, tmp_path: Path) -> None:
    program = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "sam2" else find(name, *more)
from pipeline.cli.program import main
sys.exit(main(sys.argv[1:]))
"""
    options = ["annotate", "--model", "nano", "--video", "v.mp4", "--expression", "x", "--output", "o", "--dry-run"]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = environment / "bin" / "python"
    done = subprocess.run(
        [str(python), "-c", program, *options], capture_output=True, text=True, cwd=tmp_path, env=inherited
    )
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "pip install --no-deps --no-build-isolation sam2==1.1.0" in done.stderr
