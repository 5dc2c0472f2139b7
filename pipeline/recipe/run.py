"""Runs a recipe step by step. Started again, it continues in the step that was interrupted."""

import hashlib
import json
from collections.abc import Callable

from pipeline.combine.run import combine
from pipeline.dataset.content import content_hash, version_of
from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate
from pipeline.export import check, export
from pipeline.recipe.read import Recipe, Split
from pipeline.recipe.record import Result, StepRecord
from pipeline.recipe.summary import Outcome, summary_page
from pipeline.run import annotate
from pipeline.storage import absolute, atomic_write, file_version, join, make_directory

_JSON_FORMATS = ("coco", "youtube-vis", "saco-veval")
COMBINED = "combined"
"""Name of the combination, beside the names of the runs."""


class RecipeRun:
    """One recipe with its data and its output.

    Args:
        recipe: What to do.
        data: Folder that the recipe's paths start from.
        output: Folder that receives everything; path or URL. The same one goes on where it was.
        address: Of a Ray cluster; see :func:`pipeline.engine.cluster.connect`.
        report_line: Gets lines about what happens.
    """

    def __init__(
        self, recipe: Recipe, *, data: str, output: str, address: str | None, report_line: Callable[[str], None]
    ) -> None:
        self.recipe = recipe
        self._data = absolute(data)
        self._output = absolute(output)
        self._address = address
        self._report_line = report_line
        self._record = StepRecord(join(self._output, "steps"))
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Annotate, combine, score and choose on one split, then annotate, combine, export and check on the other.

        Where both are the same videos and expressions, they are annotated once.

        Raises:
            PipelineError: A step could not be done, or expressions failed and ``allow_missing`` is off.
        """
        recipe, outcome = self.recipe, self._outcome
        outcome.threshold = None if isinstance(recipe.threshold, str) else recipe.threshold
        if recipe.choose is not None:
            names = self._predict("choose", recipe.choose)
            for name in names:
                self._score(name, recipe.choose, None)
            self._choose(names[-1], recipe.choose)
        if recipe.submit is not None:
            part = "choose" if recipe.submit.annotates_as(recipe.choose) else "submit"
            if part == "submit":
                names = self._predict("submit", recipe.submit)
            self._export(outcome.datasets[f"{part}/{names[-1]}"], recipe.submit)
        outcome.summary = join(self._output, "summary.md")
        make_directory(self._output)
        atomic_write(outcome.summary, summary_page(recipe, outcome).encode("utf-8", "replace"))
        return outcome

    def _predict(self, part: str, split: Split) -> list[str]:
        """Annotate a split by every run and combine the results.

        Returns:
            Names of the datasets made; the last one is to be scored and submitted.
        """
        recipe = self.recipe
        for name in recipe.runs:
            output = join(self._output, part, name)
            self._begin(f"{part}: annotate {name}")
            config = recipe.run_config(name, split, data=self._data, output=output)
            counts = annotate(config, address=self._address, report_line=self._report_line).counts
            self._outcome.failed += counts.failed
            if counts.failed and not recipe.allow_missing:
                raise PipelineError(
                    f"{output}: {counts.failed} expressions failed (status and error in its masks say why); write "
                    "retry_failed: true into the run to do them again, or allow_missing: true to go on without them"
                )
            self._outcome.datasets[f"{part}/{name}"] = output
        if recipe.combine is None:
            return list(recipe.runs)
        inputs = {name: self._outcome.datasets[f"{part}/{name}"] for name in recipe.runs}
        self._outcome.datasets[f"{part}/{COMBINED}"] = self._combine(part, inputs)
        return [*recipe.runs, COMBINED]

    def _combine(self, part: str, inputs: dict[str, str]) -> str:
        """Combine runs into a folder whose name depends on what they hold now."""
        settings = self.recipe.combine
        assert settings is not None
        weights = {name: self.recipe.weights.get(name, 1.0) for name in inputs}
        key = [settings.as_dict(), {name: [weights[name], version_of(url)] for name, url in inputs.items()}]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
        output = join(self._output, part, f"{COMBINED}-{digest}")
        self._begin(f"{part}: combine {', '.join(inputs)}")
        predictions = [f"{url}={weights[name]}" for name, url in inputs.items()]
        combination = combine(predictions, output, settings, address=self._address, report_line=self._report_line)
        if combination.counts.failed and not self.recipe.allow_missing:
            raise PipelineError(f"{output}: {combination.counts.failed} expressions failed; see error in its masks")
        return output

    def _score(self, name: str, split: Split, reject_below: float | None) -> Result:
        """The benchmark's numbers of one dataset on the split to choose on."""
        dataset, truth = self._outcome.datasets[f"choose/{name}"], join(self._data, str(split.ground_truth))
        shown = name if reject_below is None else f"{name}, --reject-below {reject_below:.6g}"
        self._begin(f"choose: evaluate {shown}")

        def work() -> Result:
            found = evaluate(
                self.recipe.benchmark,
                truth,
                dataset,
                strict=not self.recipe.allow_missing,
                allow_missing=self.recipe.allow_missing,
                reject_below=reject_below,
            )
            best = None if found.curve is None else found.curve.best()._asdict()
            return {"line": found.lines[0].name, "numbers": found.lines[0].values, "best": best}

        depends_on = [_state(dataset), truth, self.recipe.benchmark, reject_below, self.recipe.allow_missing]
        step = f"evaluate-{name}" + ("" if reject_below is None else "-rejected")
        result = self._record.result_of(step, depends_on, work)
        self._outcome.numbers[shown] = result["numbers"]
        self._report_line(", ".join(f"{key} {_percent(value)}" for key, value in result["numbers"].items()))
        return result

    def _choose(self, name: str, split: Split) -> None:
        """The threshold on presence, and what it gives."""
        if self.recipe.threshold == "choose":
            best = self._score(name, split, None)["best"]
            if best is None:
                raise PipelineError(
                    f"{self.recipe.benchmark}: no threshold can be chosen on this split; it needs expressions with and "
                    "without a target, and a dataset with presence; write threshold: none into the recipe"
                )
            self._outcome.chosen, self._outcome.threshold = best, best["value"]
        if self._outcome.threshold is not None:
            self._score(name, split, self._outcome.threshold)

    def _export(self, dataset: str, split: Split) -> None:
        recipe, manifest = self.recipe, join(self._data, split.manifest)
        assert recipe.format is not None
        output = join(self._output, "submission.zip" if recipe.format not in _JSON_FORMATS else "submission.json")
        videos, exclude = (
            None if path is None else join(self._data, path) for path in (split.videos, split.exclude_meta)
        )
        self._begin(f"submit: export {recipe.format}")

        def write() -> Result:
            written = export(
                dataset,
                manifest,
                recipe.format or "",
                output,
                allow_missing=recipe.allow_missing,
                reject_below=self._outcome.threshold,
                videos=videos,
                exclude_meta=exclude,
            )
            missing = len(written.missing) + len(written.left_out)
            return {"missing": missing, "notes": written.notes, "file": file_version(output)}

        depends_on = [
            _state(dataset),
            manifest,
            recipe.format,
            self._outcome.threshold,
            videos,
            exclude,
            recipe.allow_missing,
        ]
        result = self._record.result_of(
            "export", depends_on, write, is_there=lambda kept: kept["file"] == file_version(output) is not None
        )
        for note in result["notes"]:
            self._report_line(note)
        self._outcome.missing, self._outcome.submission = result["missing"], output
        self._begin("submit: check")
        self._outcome.faults = check(output, manifest, recipe.format, videos=videos, exclude_meta=exclude)
        for fault in self._outcome.faults:
            self._report_line(fault)

    def _begin(self, step: str) -> None:
        self._report_line(f"== {step}")


def _state(dataset: str) -> list[str]:
    """Everything about a dataset that decides what is made of it."""
    return [version_of(dataset), content_hash(dataset, with_verdicts=True)]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
