"""The container image's recipe: linted, and the rules that a linter does not know."""

import re
import subprocess
import tomllib
from importlib.metadata import version

from cluster_files import CLUSTER, DOCKERFILE, ROOT, tool
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) with continued lines joined and comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest) for name, rest in pairs]


def constraints() -> dict[str, str]:
    lines = (CLUSTER / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_hadolint():
    checked = subprocess.run([tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_base_is_cuda_with_a_pinned_version():
    base = next(rest for name, rest in instructions() if name == "ARG").removeprefix("CUDA_IMAGE=")
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-(base|runtime)-ubuntu\d\d\.\d\d", base)
    assert {rest.split()[0] for name, rest in instructions() if name == "FROM"} == {"${CUDA_IMAGE}"}


def test_runs_as_an_ordinary_user_with_authentication_on():
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users[-1] not in ("root", "0", "0:0")
    assert "RAY_AUTH_MODE=token" in " ".join(rest for name, rest in instructions() if name == "ENV")


def test_nothing_is_fetched_from_the_web_and_no_secret_is_baked_in():
    recipe = instructions()
    assert not [rest for name, rest in recipe if name == "ADD"]
    assert not [rest for _, rest in recipe if "://" in rest]
    assert not [
        rest for name, rest in recipe if name in ("ENV", "ARG") and re.search("SECRET|KEY|RAY_AUTH_TOKEN=", rest)
    ]


def test_no_checkpoint_gets_in():
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    allowed = {"pyproject.toml", "requirements-sam2.txt", "cluster/constraints.txt", "README.md", "LICENSE"}
    assert {source for sources in copied for source in sources} == allowed | {"pipeline", "jobs"}
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {"**/*.pt", "**/*.pth"} <= set(ignored)


def test_sam2_comes_in_the_pinned_way_of_the_makefile():
    command = next(rest for name, rest in instructions() if name == "RUN" and "requirements-sam2.txt" in rest)
    for option in ("SAM2_BUILD_CUDA=0", "--no-deps", "--no-build-isolation", "--require-hashes"):
        assert option in command
        assert option in (ROOT / "Makefile").read_text()
    assert "torchvision" not in constraints()


def test_pinned_versions_are_those_that_are_tested_here_and_allowed_by_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = constraints()
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is missing in cluster/constraints.txt"
        assert requirement.specifier.contains(pinned[name]), (
            f"{name}=={pinned[name]} is outside {requirement.specifier}"
        )
    assert pinned["ray"] in (CLUSTER / "kuberay" / "raycluster.yaml").read_text()


def test_an_environment_of_this_project_is_installed_with_the_pinned_versions():
    for file in (ROOT / "Makefile", DOCKERFILE):
        assert re.search(r"--constraint \S*constraints.txt", file.read_text()), file


def test_ray_in_the_image_has_the_series_of_the_ray_tested_here():
    assert constraints()["ray"].split(".")[:2] == version("ray").split(".")[:2]
