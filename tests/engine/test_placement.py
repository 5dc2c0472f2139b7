"""Where workers go: pure decisions about resources, without a cluster."""

import dataclasses

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.engine import placement
from pipeline.engine.pools import resources_of
from pipeline.engine.settings import WorkerSettings
from pipeline.errors import UsageError
from pipeline.model.checkpoint.locate import pin_model
from pipeline.run import PIPELINE

BIG = {"CPU": 16.0, "GPU": 1.0, "accelerator_type:A100": 1.0}
SMALL = {"CPU": 8.0, "GPU": 1.0, "accelerator_type:L4": 1.0}
HEAD = {"memory": 1e9, "node:__internal_head__": 1.0}
PLAIN = {"CPU": 8.0}


SPECS = {stage.name: stage.pool for stage in PIPELINE if stage.pool}


def place(settings, nodes):
    return placement.place(settings, SPECS, nodes)


def place_within(timeout_s, settings, nodes, **options):
    return placement.place_within(timeout_s, settings, SPECS, nodes, **options)


def config(**settings):
    return RunConfig(manifest="m.jsonl", model="nano", output="out", **settings)


def gpus(count):
    return {"CPU": 8.0, "GPU": float(count)}


def test_a_worker_without_a_gpu_takes_none_that_it_sees(monkeypatch):
    placed = place(config(gpus_per_grounder=0.0), [gpus(2)])
    assert placed.stages_on_cpu == {"ground"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = WorkerSettings(config=config(), model=pin_model("nano"), on_cpu=placed.stages_on_cpu)
    assert (settings.device("ground").type, settings.device("segment").type) == ("cpu", "cuda")


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        ([PLAIN], {}, (1, 0.0, 1, 0.0)),  # no GPU: one of each on the CPU
        ([gpus(1)], {}, (1, 0.5, 1, 0.5)),  # one GPU is shared
        ([gpus(8)], {}, (2, 0.1, 8, 0.6)),  # a segmenter on each, a grounder beside every fourth
        ([gpus(2)], {}, (1, 0.2, 2, 0.6)),
        ([gpus(4), gpus(4)], {}, (2, 0.2, 8, 0.6)),
        ([gpus(8)] * 8, {}, (16, 0.1, 64, 0.6)),
        ([gpus(8)], {"grounders": 4}, (4, 0.05, 8, 0.6)),
        ([gpus(8)], {"gpus_per_grounder": 1.0}, (2, 1.0, 6, 1.0)),  # one in four grounds
        ([gpus(8)], {"gpus_per_segmenter": 0.5}, (2, 1.0, 12, 0.5)),
        ([gpus(2)], {"gpus_per_grounder": 0.0}, (1, 0.0, 2, 1.0)),
        ([BIG, BIG, SMALL, SMALL, SMALL], {"ground_on": "A100", "segment_on": "L4"}, (2, 1.0, 3, 1.0)),
        ([BIG, SMALL, SMALL], {"ground_on": "A100"}, (1, 1.0, 2, 1.0)),  # segmenters take what is left
        ([BIG, SMALL, SMALL], {"segment_on": "L4"}, (1, 1.0, 2, 1.0)),  # grounders take what segmenters cannot use
        ([BIG] * 8, {"ground_on": "A100", "segment_on": "A100"}, (2, 0.2, 8, 0.6)),
        ([BIG], {"ground_on": "A100"}, (1, 0.5, 1, 0.5)),
        ([HEAD, BIG, SMALL], {"ground_on": "A100", "segment_on": "L4"}, (1, 1.0, 1, 1.0)),
    ],
)
def test_sizes_follow_the_cluster_where_options_are_silent(nodes, settings, expected):
    placed = place(config(**settings), nodes)
    ground, segment = placed.pools["ground"], placed.pools["segment"]
    assert (ground.least, ground.gpus, segment.least, segment.gpus) == expected
    assert (ground.most, segment.most) == (ground.least, segment.least)


def test_a_grounder_that_leaves_no_room_has_gpus_of_its_own():
    specs = SPECS | {"ground": dataclasses.replace(SPECS["ground"], shares_gpus=False)}
    pools = placement.place(config(), specs, [gpus(8)]).pools
    assert [(pool.least, pool.gpus) for pool in pools.values()] == [(2, 1.0), (6, 1.0)]


@pytest.mark.parametrize("bounds", ["1:8", [1, 8]])
def test_bounds_start_small_and_may_grow(bounds):
    placed = place(config(grounders=bounds, segmenters=1), [gpus(2)])
    assert (placed.pools["ground"].least, placed.pools["ground"].most) == (1, 8)
    assert "1 to 8 grounder(s)" in str(placed)


@pytest.mark.parametrize("bounds", ["8:1", "0:4", "a:b", "1:2:3", "", 0, [], [1, 2, 3], -1])
def test_senseless_bounds_are_refused(bounds):
    with pytest.raises(UsageError, match="grounders"):
        config(grounders=bounds)


@pytest.mark.parametrize("kind", ["", "=1", "big=", "big=x", "big=0", "big=-1", "big=inf"])
def test_senseless_kinds_of_nodes_are_refused(kind):
    with pytest.raises(UsageError, match="ground_on"):
        config(ground_on=kind)


@pytest.mark.parametrize(
    ("on", "nodes", "expected"),
    [
        (None, [BIG], {}),
        ("A100", [BIG], {"accelerator_type:A100": 0.001}),
        ("H100", [], {"accelerator_type:H100": 0.001}),  # none yet: Ray knows the name
        ("big", [{"big": 4.0}], {"big": 0.001}),
        ("big=0.5", [], {"big": 0.5}),
        ("L4", [{"L4": 1.0}], {"L4": 0.001}),  # a custom resource that is named like an accelerator
        ("nowhere", [BIG], {"nowhere": 0.001}),
    ],
)
def test_what_a_kind_of_node_means(on, nodes, expected):
    assert resources_of(on, nodes) == expected


@pytest.mark.parametrize(
    ("nodes", "settings", "message"),
    [
        ([gpus(1)], {"grounders": 2, "gpus_per_grounder": 1.0}, "only 1 can be placed"),
        ([gpus(1), gpus(1)], {"gpus_per_grounder": 2.0}, "2 GPU each"),
        ([gpus(2)], {"gpus_per_grounder": 0.6, "grounders": 3, "gpus_per_segmenter": 0.0}, "only 2 can be placed"),
        ([SMALL], {"ground_on": "A100"}, "no node offers A100 for the grounders; the cluster has L4"),
        ([PLAIN], {"segment_on": "big"}, "no node offers big for the segmenters; the cluster has no such kinds"),
        ([{"big": 1.0, "CPU": 1.0}], {"ground_on": "big=1", "grounders": 2}, "only 1 can be placed"),
        ([HEAD], {}, "no node of the cluster offers a CPU"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_the_reason(nodes, settings, message):
    with pytest.raises(UsageError, match=message):
        place(config(**settings), nodes)


@pytest.mark.parametrize(
    ("nodes", "settings"),
    [
        # segmenters anywhere must not take the only node that grounders can use, in whatever order nodes are listed
        ([BIG, SMALL], {"ground_on": "A100", "segmenters": 1, "grounders": 1}),
        ([SMALL, BIG], {"ground_on": "A100", "segmenters": 1, "grounders": 1}),
        ([BIG, SMALL], {"segment_on": "L4", "segmenters": 1, "grounders": 1}),
        # halves of one kind beside a whole GPU
        ([gpus(2)], {"gpus_per_grounder": 1.0, "gpus_per_segmenter": 0.5, "grounders": 1, "segmenters": 2}),
        ([gpus(4)], {"gpus_per_grounder": 2.0, "gpus_per_segmenter": 1.0, "grounders": 1, "segmenters": 2}),
        # CPU workers of any number fit beside everything
        ([PLAIN], {"grounders": 3, "segmenters": 3}),
    ],
)
def test_what_fits_is_placed(nodes, settings):
    place(config(**settings), nodes)


@pytest.mark.parametrize(
    ("nodes", "settings", "threads"),
    [
        ([{"CPU": 8.0}], {}, 8),
        ([{"CPU": 8.0}], {"grounders": 2, "segmenters": 4}, 2),
        ([{"CPU": 8.0}] * 2, {"grounders": 2, "segmenters": 2}, 8),
        ([{"CPU": 8.0}], {"segmenters": "1:7"}, 1),  # room for as many as there may be
        ([gpus(2)], {}, None),
    ],
)
def test_cpu_workers_share_a_nodes_cores(nodes, settings, threads):
    assert place(config(**settings), nodes).threads == threads


class GrowingCluster:
    """A cluster that an autoscaler adds nodes to some time after it was asked."""

    def __init__(self, nodes, later, after_looks=2):
        self.nodes, self.later, self.looks_left = list(nodes), list(later), after_looks
        self.requests = []

    def look(self):
        if self.requests:
            self.looks_left -= 1
            if self.looks_left == 0:
                self.nodes += self.later
        return self.nodes


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("pipeline.engine.placement.POLL_S", 0.01)


def test_waits_for_nodes_that_it_asked_for(fast):
    cluster, said = GrowingCluster([HEAD], [BIG, SMALL]), []
    settings = config(ground_on="A100", segment_on="L4", grounders="1:4", segmenters="1:16")
    placed = place_within(5.0, settings, cluster.look, request=cluster.requests.append, report=said.append)
    assert placed.pools["ground"].most == 4
    wish, settled = cluster.requests
    assert {"GPU": 1.0, "accelerator_type:A100": 0.001} in wish
    assert {"GPU": 1.0, "accelerator_type:L4": 0.001} in wish
    assert settled == []
    assert "no node offers A100" in said[0]


def test_gives_up_in_time_and_takes_the_wish_back(fast):
    cluster = GrowingCluster([HEAD, SMALL], [])
    with pytest.raises(UsageError, match=r"no node offers A100 .*waited 0.05 s; --placement-timeout-s"):
        place_within(
            0.05, config(ground_on="A100"), cluster.look, request=cluster.requests.append, report=lambda line: None
        )
    assert cluster.requests[-1] == []


def test_decides_at_once_where_nothing_can_join():
    requests = []
    with pytest.raises(UsageError) as raised:
        place_within(0.0, config(ground_on="A100"), lambda: [PLAIN], request=requests.append, report=requests.append)
    assert requests == []
    assert "waited" not in str(raised.value)


def test_the_wait_is_a_minute_unless_told_otherwise():
    fields = {field.name: field.default for field in dataclasses.fields(RunConfig)}
    assert fields["placement_timeout_s"] == 60.0
