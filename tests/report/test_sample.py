"""Which items are shown."""

from pipeline.report.collect import Item, ObjectFacts
from pipeline.report.sample import Sampler, spread


def item_of(number, score=0.5, status="ok", error=None):
    facts = ObjectFacts(object_id=0, score=score, present=1, area=0.1)
    return Item(
        video_id=f"v{number}",
        expression_id="0",
        expression="x",
        status=status,
        error=error,
        answer=None,
        height=4,
        width=4,
        frames=1,
        objects=(facts,),
    )


def choose(items, size):
    sampler = Sampler(size, lambda item: item.score)
    for item in items:
        sampler.add(item)
    return sampler.chosen()


def many():
    ok = [item_of(n, score=n / 1000) for n in range(1000)]
    failed = [item_of(n + 1000, None, "failed", f"Error{'A' if n else 'B'}: why") for n in range(100)]
    return [*ok, *failed, *(item_of(n + 2000, None, "no_object") for n in range(50))]


def test_worst_best_random_failed_and_answers_without_an_object():
    chosen = choose(many(), 24)
    by_group = {}
    for sampled in chosen:
        by_group.setdefault(sampled.group, []).append(sampled.item)
    assert [item.score for item in by_group["worst"]] == [n / 1000 for n in range(6)]
    assert [item.score for item in by_group["best"]] == [n / 1000 for n in range(999, 993, -1)]
    assert {item.status for item in by_group["no object"]} == {"no_object"}
    assert len(by_group["failed"]) == 4
    assert len(by_group["random"]) == 6
    assert len({sampled.item.key for sampled in chosen}) == 24


def test_every_kind_of_failure_is_shown_however_rare():
    errors = {sampled.item.error for sampled in choose(many(), 24) if sampled.group == "failed"}
    assert errors == {"ErrorA: why", "ErrorB: why"}


def test_the_choice_depends_on_the_items_and_not_on_their_order():
    def keys(items):
        return {(sampled.item.key, sampled.group) for sampled in choose(items, 24)}

    assert keys(many()) == keys(many()[::-1])


def test_all_are_shown_when_there_are_few():
    assert len(choose(many()[995:1010], 100)) == 15


def test_where_everything_failed_failures_fill_the_page():
    failed = [item_of(n, None, "failed", "Error: why") for n in range(50)]
    assert len(choose(failed, 20)) == 20


def test_spread_keeps_both_ends():
    assert spread(100, 5) == [0, 25, 50, 74, 99]
    assert spread(3, 5) == [0, 1, 2]
    assert spread(9, 1) == [0]
    assert spread(0, 5) == []
