"""Tables of the records on attention sinks, on documents made by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tokensphere import records
from tokensphere.paper.experiments import sinks as experiment
from tokensphere.paper.figures import sink_tables as tables
from tokensphere.sinks import uniform_importance


def layer(index, raw, shuffled, share, rate, outcome="sink", kind=None, reverse=False):
    """A layer of `scores` in a record: the first token alone."""
    return {
        "index": index,
        "reverse": reverse,
        "verdict": {"outcome": outcome, "kind": kind},
        "scores": {"raw": {"mean": [raw]}, "absolute": {"mean": [share]}},
        "nulls": {"shuffled": {"raw": {"score": {"mean": shuffled}}}},
        "rates": {"raw": {"after_threshold": {"mean": [rate]}}},
    }


LAYERS = [
    layer(0, 0.1, 0.2, 0.3, 0.5, "uniform"),
    layer(1, 0.2, 0.1, 0.2, 0.6, kind="position"),
    layer(2, 0.3, 0.3, 0.1, 0.4, "uniform"),
    layer(0, 9.0, 9.0, 0.9, 0.9, kind="token", reverse=True),
]
PROMPTS = {"after_threshold": {"mean": [0.25]}, "before_threshold": [0.75]}
DIRECTION = {"sink": {"raw": {"prompts": PROMPTS}}}
FOUND = {"one": {"scores": {"layers": LAYERS, "directions": [DIRECTION]}}}


def cells(shown, row=2):
    return [cell.strip() for cell in shown.data.splitlines()[row].strip("|").split("|")]


def test_sinks_are_listed_with_both_orders():
    shown = cells(tables.found_sinks(FOUND))
    which = "1 (position, 0.20); 0 backward (token, 0.90)"
    assert shown == ["one", "2", "2", "0", which, "0.25 / 0.75"]


def test_models_are_called_as_the_chapter_calls_them():
    found = dict.fromkeys(experiment.RUNS, FOUND["one"])
    shown = [cells(tables.raw_with_depth(found), row)[0] for row in (2, 3, 4)]
    assert shown == ["model 1", "model 2, without BOS", "model 2, after BOS"]


def test_rank_correlations_are_of_the_forward_layers():
    assert cells(tables.raw_with_depth(FOUND)) == ["one", "1.00", "0.50", "-1.00", "1 of 2"]


def test_nulls_fall_and_rise():
    figure = tables.nulls(8, 0.3)
    left, right = figure.axes
    null, *limits = (line.get_ydata() for line in left.lines)
    np.testing.assert_allclose(null, uniform_importance(8))
    assert (np.diff(null) < 0).all()
    assert all((np.diff(limit) > 0).all() for limit in limits)
    np.testing.assert_allclose(right.lines[0].get_ydata()[6], null[0])
    plt.close(figure)


@pytest.fixture(scope="module")
def recorded():
    return records.load(records.path("attention_sinks.json"), parameters=experiment.FULL).data


def test_causes_are_those_of_the_record(recorded):
    lines = tables.causes(recorded).data.splitlines()
    assert len(lines) == 8
    pull = next(row for row in range(8) if "predicted pull" in lines[row])
    wanted = []
    for run in recorded.values():
        layers = run["theory"]["layers"]
        above = sum(layer["correlation"]["low"] > 0 for layer in layers)
        wanted.append(f"{above} of {len(layers)}")
    assert cells(tables.causes(recorded), pull)[1:] == wanted


def test_the_strongest_layer_s_parts(recorded):
    run = recorded["typeseg"]
    text = tables.strongest_layer(run["scores"], run["theory"], 64)
    strongest = max(layer["attribution"]["measured"]["mean"] for layer in run["theory"]["layers"])
    assert f"the share is {strongest:.2f} on 64 of its channels" in text
    assert "Of the 2 layers of model 1 with a sink, 2 keep it" in text


def test_falcon_says_what_its_record_holds():
    shape = records.load(records.path("falcon_shape.json")).data
    shown = tables.falcon(shape, 4096, "where")
    assert cells(shown)[1] == f"{shape['timings']['forward']['seconds']:.2f}"
    assert shown.data.endswith("where")
