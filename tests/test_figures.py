"""What figures compute before they draw, and that a chapter fails on an unconfirmed verdict."""

import numpy as np
import pytest
import torch

from tokensphere import claims, figures
from tokensphere.claims import Claim, Evidence
from tokensphere.flow import Trajectory, random_tokens


@pytest.mark.parametrize("seed", range(6))
def test_zeros_of_the_form_are_zeros_on_the_sphere(seed):
    g = torch.Generator().manual_seed(seed)
    S_BC = torch.randn(3, 3, generator=g, dtype=torch.float64)
    values = np.linalg.eigvalsh((S_BC + S_BC.mT) / 2)
    curves = figures.zeros_of_the_form(S_BC)
    assert len(curves) == (2 if values[0] * values[2] < 0 else 0)
    for curve in curves:
        np.testing.assert_allclose(np.linalg.norm(curve, axis=1), 1, atol=1e-14)
        form = np.einsum("ni,ij,nj->n", curve, S_BC.numpy(), curve)
        np.testing.assert_allclose(form, 0, atol=1e-13)


def test_a_definite_form_has_no_zeros():
    assert figures.zeros_of_the_form(torch.eye(3, dtype=torch.float64)) == []
    assert figures.zeros_of_the_form(-torch.eye(3, dtype=torch.float64)) == []


def test_a_sphere_is_the_same_twice_and_brings_no_script_of_its_own():
    tokens = random_tokens(5, 2, 3, generator=torch.Generator().manual_seed(0))
    run = Trajectory(torch.arange(5).double(), tokens)
    html = figures.sphere(run, "name").data
    assert html == figures.sphere(run, "name").data
    assert 'id="name"' in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_an_unconfirmed_verdict_fails_the_chapter(monkeypatch):
    wrong = Claim(
        id="x",
        where="nowhere",
        statement="text",
        verdict="fails",
        chapter="claims",
        stated=lambda generator: Evidence(True, {"n": 1}),
    )
    monkeypatch.setitem(claims.LEDGER, "x", wrong)
    with pytest.raises(AssertionError, match="x"):
        figures.verdicts("x")
    shown = figures.verdicts("eq-12").data
    assert "holds after a correction" in shown
    assert "negative control" not in shown


def test_the_ledger_table_has_every_claim():
    table = figures.ledger_table().data
    rows = table.splitlines()[2:]
    assert len(rows) == len(claims.LEDGER)
    assert all(row.count("|") == 4 for row in rows)
