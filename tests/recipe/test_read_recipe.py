"""Recipe files: those that are included fit the options they name, and a wrong one is one line that names the key."""

import pytest

from pipeline.cli.recipe import EPILOG
from pipeline.errors import UsageError
from pipeline.evaluation.protocols import BENCHMARKS
from pipeline.export.formats import FORMATS
from pipeline.recipe.read import RECIPES, read_recipe
from pipeline.recipe.record import StepRecord

GOOD = """\
benchmark: mevis-v2
format: mevis-v2
model: nano
choose: {manifest: a/meta.json, ground_truth: a}
submit: {manifest: b/meta.json}
runs: {k5: {num_keyframes: 5}, k1: {num_keyframes: 1, model: other}}
combine: {mode: best}
weights: {k1: 2}
threshold: choose
"""


@pytest.mark.parametrize("name", sorted(file.stem for file in RECIPES.glob("*.yaml")))
def test_included_recipes_name_what_exists(name) -> None:
    recipe = read_recipe(name, model="nano")
    assert recipe.benchmark in BENCHMARKS
    assert recipe.submit is None or recipe.format in FORMATS
    assert name in EPILOG.splitlines()[0].removeprefix("included recipes: ").split(", ")
    assert all(options["model"] == "nano" for options in recipe.runs.values())
    assert all(options["objects"] == "first" for options in recipe.runs.values())


def test_a_recipe_says_what_each_run_is(tmp_path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = read_recipe(str(tmp_path / "r.yaml"))
    assert recipe.choose is not None
    config = recipe.run_config("k5", recipe.choose, data="/data", output="out")
    assert (config.manifest, config.model, config.num_keyframes) == ("/data/a/meta.json", "nano", 5)
    assert recipe.runs["k1"]["model"] == "other"
    assert recipe.combine is not None
    assert (recipe.combine.mode, recipe.weights, recipe.threshold) == ("best", {"k1": 2.0}, "choose")


def test_a_list_of_prompt_templates_is_a_run_for_each(tmp_path) -> None:
    templates = "num_keyframes: 5, prompt_template: ['Segment {expression}.', 'Where is {expression}?']"
    weights = "weights: {k5-template-2: 3}"
    (tmp_path / "r.yaml").write_text(GOOD.replace("num_keyframes: 5", templates).replace("weights: {k1: 2}", weights))
    recipe = read_recipe(str(tmp_path / "r.yaml"))
    assert list(recipe.runs) == ["k5-template-1", "k5-template-2", "k1"]
    assert recipe.runs["k5-template-2"] == {
        "num_keyframes": 5,
        "prompt_template": "Where is {expression}?",
        "model": "nano",
    }
    assert recipe.weights == {"k5-template-2": 3.0}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("threshold: choose", "threshold: high", "threshold"),
        ("threshold: choose", "threshhold: choose", "threshhold not known"),
        ("num_keyframes: 5", "num_keyframes: 0", "runs: k5: num_keyframes is 0"),
        ("num_keyframes: 5", "output: x", "output not known"),
        ("{k5:", "{a/b:", "becomes a folder"),
        ("mode: best", "mode: median", "mode is 'median'"),
        ("combine: {mode: best}", "", "how to combine them"),
        ("{k1: 2}", "{k3: 2}", "weights: k3 not known"),
        ("{k1: 2}", "{k1: 0}", "above 0"),
        ("model: nano\n", "", "k5: no model"),
        (", ground_truth: a", "", "needs ground_truth"),
        ("format: mevis-v2", "", "submit needs a format"),
        ("manifest: b/meta.json", "manifests: b", "submit: manifests not known"),
        ("num_keyframes: 5", "prompt_template: [a, b]", "{expression} exactly once, got 'a'"),
        ("num_keyframes: 5", "prompt_template: []", "k5: prompt_template is []"),
        (
            "{k5: {num_keyframes: 5}",
            "{k5-template-1: {}, k5: {prompt_template: ['{expression}']}",
            "k5-template-1 is also",
        ),
        ("num_keyframes: 5", "keyframes: first, keyframe_seed: 1", "the first ones are not"),
    ],
)
def test_a_wrong_recipe_is_one_line_with_code_2(old, new, says, tmp_path, job_here) -> None:
    file = tmp_path / "r.yaml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    code, said, errors = job_here("recipe")(file, "--output", tmp_path / "out")
    assert (code, said) == (2, "")
    assert len(errors.splitlines()) == 1
    assert says in errors


def test_an_unknown_name_lists_the_included_ones() -> None:
    with pytest.raises(UsageError, match="mevis, mevis-v2"):
        read_recipe("no-such")


def test_a_step_is_done_again_only_when_its_input_changed(tmp_path) -> None:
    record, calls = StepRecord(str(tmp_path)), []

    def work() -> dict:
        calls.append(1)
        return {"J": 0.1 + 0.2, "none": None}

    first = record.result_of("step", ["v1"], work)
    assert record.result_of("step", ["v1"], work) == first == {"J": 0.1 + 0.2, "none": None}
    assert len(calls) == 1
    record.result_of("step", ["v2"], work)
    record.result_of("step", ["v2"], work, is_there=lambda _: False)
    (tmp_path / "step.json").write_text('{"key": ')
    record.result_of("step", ["v2"], work)
    assert len(calls) == 4
