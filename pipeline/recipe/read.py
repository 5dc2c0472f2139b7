"""Reads a recipe file and checks every name and value in it before any work."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.combine.settings import CombineSettings
from pipeline.config import RunConfig
from pipeline.dataset.layout import TEMPLATE_FOLDER
from pipeline.errors import UsageError
from pipeline.settings import missing_settings, settings_of
from pipeline.storage import join
from pipeline.yaml_file import read_yaml

RECIPES = Path(__file__).parent.parent / "evaluation" / "recipes"
"""Folder of the included recipes; the name of a recipe is that of its file."""
_KEYS = (
    "title", "benchmark", "format", "model", "choose", "submit", "runs", "combine", "weights", "threshold", "published",
    "allow_missing",
)  # fmt: skip
_NOT_OF_A_RUN = ("manifest", "video", "expression", "videos", "output", "limit")


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split of a benchmark; paths are relative to the folder of the data."""

    manifest: str
    videos: str | None = None
    ground_truth: str | None = None
    """The split's folder, for ``evaluate``; needed where numbers are to be had."""
    exclude_meta: str | None = None
    """As the option of ``export``."""

    def annotates_as(self, other: "Split | None") -> bool:
        """Whether a run on the other split makes the same dataset."""
        return other is not None and (self.manifest, self.videos) == (other.manifest, other.videos)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe file says."""

    title: str
    benchmark: str
    """As for ``evaluate``."""
    format: str | None
    """As for ``export``; needed where something is submitted."""
    choose: Split | None
    """The split with public truth: every run and the combination are scored on it, and the threshold is chosen."""
    submit: Split | None
    """The split that is exported."""
    runs: Mapping[str, Mapping[str, Any]]
    """By name: options of ``annotate``, with the model among them."""
    combine: CombineSettings | None
    """How the runs are combined; None for a single run."""
    weights: Mapping[str, float]
    """Of runs in the combination; 1 where it names none."""
    threshold: float | str | None
    """A number for ``--reject-below``, ``choose``, or None for no rejection."""
    published: Mapping[str, str]
    """What was published, by model; shown beside."""
    allow_missing: bool
    """Go on where expressions failed."""

    def run_config(self, name: str, split: Split, *, data: str, output: str) -> RunConfig:
        """The configuration of one run on a split."""
        videos = None if split.videos is None else join(data, split.videos)
        return RunConfig(manifest=join(data, split.manifest), videos=videos, output=output, **self.runs[name])


def read_recipe(name: str, *, model: str | None = None) -> Recipe:
    """Read a recipe file, or an included recipe by its name.

    Args:
        name: Path of a file, or a name such as ``mevis-v2``.
        model: Takes the place of every run's model.

    Raises:
        UsageError: It cannot be read or says something that does not exist; one line that names file and key.
    """
    path = Path(name)
    if not path.is_file() and (RECIPES / f"{name}.yaml").is_file():
        path = RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise UsageError(f"{name}: no such file, and no included recipe ({known})")
    values = read_yaml(path)
    _check_keys(str(path), values, _KEYS)
    choose, submit = (_split(f"{path}: {key}", values.get(key)) for key in ("choose", "submit"))
    runs = _runs(f"{path}: runs", values.get("runs"), model or values.get("model"), replaced=model is not None)
    recipe = Recipe(
        title=_text(path, values, "title", path.stem),
        benchmark=_text(path, values, "benchmark", None),
        format=_text(path, values, "format", "") or None,
        choose=choose,
        submit=submit,
        runs=runs,
        combine=_combination(f"{path}: combine", values.get("combine"), len(runs)),
        weights=_weights(f"{path}: weights", values.get("weights") or {}, runs),
        threshold=_threshold(f"{path}: threshold", values.get("threshold")),
        published={str(key): str(value) for key, value in (values.get("published") or {}).items()},
        allow_missing=bool(values.get("allow_missing", False)),
    )
    _check_parts_fit(str(path), recipe)
    return recipe


def _check_parts_fit(where: str, recipe: Recipe) -> None:
    """What the parts of a recipe ask of each other."""
    if recipe.choose is None and recipe.submit is None:
        raise UsageError(f"{where}: neither choose nor submit, so there is nothing to do")
    if recipe.submit is not None and recipe.format is None:
        raise UsageError(f"{where}: submit needs a format")
    if recipe.choose is not None and recipe.choose.ground_truth is None:
        raise UsageError(f"{where}: choose needs ground_truth")
    if recipe.threshold == "choose" and recipe.choose is None:
        raise UsageError(f"{where}: a threshold can be chosen only on a split to choose on")
    for split in (recipe.choose, recipe.submit):
        if split is not None:
            for name in recipe.runs:
                recipe.run_config(name, split, data="data", output="out")  # every option is checked before any work


def _check_keys(where: str, values: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise UsageError(f"{where}: must hold 'name: value' lines")
    unknown = sorted(set(map(str, values)) - set(known))
    if unknown:
        raise UsageError(f"{where}: {', '.join(unknown)} not known; there are {', '.join(known)}")
    return values


def _text(path: Path, values: Mapping[str, Any], key: str, default: str | None) -> str:
    value = values.get(key, default)
    if not isinstance(value, str):
        raise UsageError(f"{path}: {key} must be a text")
    return value


def _split(where: str, values: object) -> Split | None:
    if values is None:
        return None
    checked = _check_keys(where, values, tuple(field.name for field in fields(Split)))
    if "manifest" not in checked or not all(isinstance(value, str) for value in checked.values()):
        raise UsageError(f"{where}: needs a manifest; all values are paths")
    return Split(**checked)


def _runs(where: str, values: object, model: object, *, replaced: bool) -> dict[str, dict[str, Any]]:
    known = {setting.name: setting for setting in settings_of(RunConfig) if setting.name not in _NOT_OF_A_RUN}
    if not isinstance(values, dict) or not values:
        raise UsageError(f"{where}: must name at least one run, as 'k5: {{num_keyframes: 5}}'")
    runs: dict[str, dict[str, Any]] = {}
    for name, options in values.items():
        if not str(name).replace("-", "").replace("_", "").isalnum():
            raise UsageError(f"{where}: {name!r} becomes a folder; use letters, digits, - and _")
        options = _check_keys(f"{where}: {name}", options or {}, tuple(known))
        for run, of_run in _by_template(str(name), options).items():
            checked = {key: known[key].checked(value, f"{where}: {name}: {key}") for key, value in of_run.items()}
            if model is not None and (replaced or "model" not in checked):
                checked["model"] = known["model"].checked(model, f"{where}: model")
            if "model" in missing_settings(RunConfig, checked):
                raise UsageError(f"{where}: {name}: no model, neither here nor for all runs")
            if run in runs:
                raise UsageError(f"{where}: {run} is also what a prompt template of another run is called")
            runs[run] = checked
    return runs


def _by_template(name: str, options: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A run as it is, or for a list of prompt templates a run for each, ``NAME-template-1`` and so on."""
    templates = options.get("prompt_template")
    if not isinstance(templates, list) or not templates:
        return {name: options}
    return {
        f"{name}-{TEMPLATE_FOLDER.format(number=number)}": {**options, "prompt_template": text}
        for number, text in enumerate(templates, start=1)
    }


def _combination(where: str, values: object, runs: int) -> CombineSettings | None:
    if values is None:
        if runs > 1:
            raise UsageError(f"{where}: there are {runs} runs, so it must say how to combine them, as 'mode: average'")
        return None
    if runs < 2:
        raise UsageError(f"{where}: there is only one run")
    return CombineSettings(**_check_keys(where, values, tuple(field.name for field in fields(CombineSettings))))


def _weights(where: str, values: object, runs: Mapping[str, Any]) -> dict[str, float]:
    checked = _check_keys(where, values, tuple(runs))
    if not all(type(value) in (int, float) and 0 < value < float("inf") for value in checked.values()):
        raise UsageError(f"{where}: each must be a number above 0")
    return {name: float(value) for name, value in checked.items()}


def _threshold(where: str, value: object) -> float | str | None:
    if value in (None, "none"):
        return None
    if value == "choose":
        return "choose"
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise UsageError(f"{where}: is {value!r}; it must be choose, none, or a number from 0 to 1")
