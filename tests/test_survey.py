"""The survey: its laws, its counts, and that a run that was killed goes on."""

import json
import math

import pytest
import torch

from tokensphere import records
from tokensphere.first_token import KINDS
from tokensphere.paper import survey

SMALL = {"draws": 30, "dims": [2], "seed": 0, "horizon": 80.0, "follow": 20.0}


def test_every_draw_is_counted_once():
    counts = survey.first_tokens("Gaussian", 3, 50, seed=0, horizon=80.0, batch=20)
    assert sum(counts.values()) == 50
    assert set(counts) == {*KINDS, "still moving"}
    table = survey.later_tokens("identity", 3, 25, seed=0, horizon=20.0, length=4, batch=10)
    per_end = {end: sum(sum(table[kind][end]) for kind in KINDS) for end in survey.ENDS}
    assert set(per_end.values()) == {25}  # each sequence has an entry in the histogram of each end
    tokens = sum(k * n for kind in KINDS for h in table[kind].values() for k, n in enumerate(h))
    assert tokens == 25 * 3


def test_the_laws_are_what_the_module_says():
    """<y, S_BC y> has root mean square 1 and <S_{Delta,d}, y> variance 1, whatever D."""
    for dim in (2, 16):
        g = torch.Generator().manual_seed(0)
        S_BC, S_Delta, a = survey.draw("Gaussian", dim, 20_000, g)
        y = torch.full((dim,), dim**-0.5, dtype=torch.float64)
        # Standard errors: 0.01 of a variance of 20,000 normal draws.
        assert float((y @ S_BC @ y).var()) == pytest.approx(1, abs=0.05)
        assert float((y @ S_Delta)[:, 0].var()) == pytest.approx(1, abs=0.05)
        assert 0.5 <= float(a.min()) < 0.51
        assert 1.49 < float(a.max()) <= 1.5
    g = torch.Generator().manual_seed(0)
    S_BC, _, a = survey.draw("identity", 3, 2, g, decays="equal")
    assert torch.equal(S_BC, torch.eye(3).double().expand(2, 3, 3))
    assert torch.equal(a, torch.ones(2, 3).double())


def test_starts_are_not_drawn_from_the_seed_of_the_parameters(monkeypatch):
    """They would repeat the parameters' first numbers, each token a row of the first forms."""
    given = []

    def batches(follow, values, *_):
        given.append(values)
        return []

    monkeypatch.setattr(survey, "_batches", batches)
    survey.first_tokens("Gaussian", 3, 30, seed=5, horizon=1.0)
    survey.later_tokens("Gaussian", 3, 30, seed=5, horizon=1.0, length=4)
    for values in given:
        start = values[-1].reshape(-1, 3)
        rows = values[0].reshape(-1, 3)
        assert torch.cdist(start, rows / rows.norm(dim=-1, keepdim=True)).min() > 1e-6
        # Nor do sequences share them.
        assert torch.pdist(start).min() > 1e-6


def test_turning_parameters_keep_their_law():
    g = torch.Generator().manual_seed(0)
    start, other = torch.randn(2, 20_000, generator=g, dtype=torch.float64)
    at = survey.turning(start, other, frequency=2.0)
    torch.testing.assert_close(at(0.0), start)
    assert float(at(0.7).var()) == pytest.approx(1, abs=0.05)
    assert float((at(0.7) * start).mean()) == pytest.approx(math.cos(1.4), abs=0.05)


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    whole = survey.run(tmp_path / "whole.json", **SMALL)
    calls = []
    counted = survey.later_tokens

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return counted(*args, **kwargs)

    monkeypatch.setattr(survey, "later_tokens", killed)
    path = tmp_path / "survey.json"
    with pytest.raises(KeyboardInterrupt):
        survey.run(path, **SMALL)
    assert not path.exists()
    partial = path.with_suffix(".partial.json")
    kept = json.loads(partial.read_text("utf-8"))
    # More than all of it takes; and less than the age of the code, which would make it stale.
    longer = kept | {"seconds": 100 + kept["seconds"]}
    longer["digest"] = records.content_digest(longer)
    partial.write_text(json.dumps(longer), "utf-8")
    monkeypatch.setattr(records, "_digests", lambda modules, since: {"tokensphere.survey": "x"})
    monkeypatch.setattr(records, "_staleness", lambda module, recorded: None)
    resumed = survey.run(path, **SMALL)
    assert 100 < resumed.seconds < 200
    assert len(calls) == 5  # two kept, one killed, that one again, one more
    assert resumed.data == whole.data
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    with pytest.raises(records.StaleRecord, match="draws"):
        records.load(path, parameters={**resumed.parameters, "draws": 31})


def test_processes_do_not_change_the_counts(tmp_path, monkeypatch):
    # A record is refused if its code was edited while the run went on, which under load is long.
    monkeypatch.setattr(records, "_digests", lambda modules, since: {"tokensphere.survey": "x"})
    monkeypatch.setattr(records, "_staleness", lambda module, recorded: None)
    alone = survey.run(tmp_path / "one.json", **SMALL)
    shared = survey.run(tmp_path / "two.json", workers=2, **SMALL)
    assert shared.data == alone.data
    with pytest.raises(ValueError, match="^workers: got 0"):
        survey.run(tmp_path / "none.json", workers=0, **SMALL)


def test_unknown_laws_are_named():
    with pytest.raises(ValueError, match="^law: got 'uniform'"):
        survey.draw("uniform", 2, 1, torch.Generator())
    with pytest.raises(ValueError, match="^decays: got 'none'"):
        survey.draw("identity", 2, 1, torch.Generator(), decays="none")


def test_interval_is_wilson():
    low, high = survey.interval(0, 100)
    # The closed form at 0 successes: z^2 / (n + z^2).
    assert low == 0
    assert high == pytest.approx(1.959964**2 / (100 + 1.959964**2), rel=1e-6)
