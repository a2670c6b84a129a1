"""What was once taken in silence, or never ended, and is refused at the door."""

import math

import numpy as np
import pytest
import torch

from tokensphere.circle import isolate
from tokensphere.first_token import (
    diagonal_limit,
    equilibria,
    explicit_bound,
    jacobian,
    predict_limit,
    settle,
    tangent_basis,
)
from tokensphere.first_token.cycles import rock_paper_scissors
from tokensphere.flow import SharedStepFlow
from tokensphere.other_tokens import weights
from tokensphere.rates import fit_exponential

EYE = torch.eye(3, dtype=torch.float64)
e1 = EYE[0]
many = EYE[None], EYE[None]
shared = SharedStepFlow(EYE, e1, 0.5)
EMPTY, UNKNOWN = 0 * e1, math.nan * e1


@pytest.mark.parametrize("bad", [EMPTY, UNKNOWN], ids=["length 0", "NaN"])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("y0", lambda y: diagonal_limit(EYE[None], e1[None], y[None])),
        ("y0", lambda y: explicit_bound(EYE[None], y[None])),
        ("y", lambda y: jacobian(EYE, EYE, y)),
        ("y", tangent_basis),
        ("x", lambda y: weights(shared, torch.stack([e1, y]))),
        ("y0", lambda y: settle(*many, y[None])),
        ("y0", lambda y: predict_limit(EYE, EYE, y)),
    ],
)
def test_a_token_has_a_direction(name, call, bad):
    with pytest.raises(ValueError, match=f"^{name}: got .*, takes"):
        call(bad)
    call(e1)


def test_a_token_off_the_sphere_has_no_end():
    """1.2 e_1 is no coordinate vector."""
    with pytest.raises(ValueError, match="^y0: got a row whose length is off by 2.0e-01"):
        settle(*many, 1.2 * e1[None])


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, None])
def test_a_horizon_is_a_number(bad):
    """On a cycle nothing but the horizon ends a run."""
    y0 = torch.full((3,), 3**-0.5, dtype=torch.float64)
    for call in (
        lambda: settle(EYE[None], rock_paper_scissors(0.1)[None], y0[None], bad),
        lambda: predict_limit(EYE, rock_paper_scissors(0.1), y0, bad),
    ):
        with pytest.raises(ValueError, match="^horizon: got .*, takes a finite number above 0"):
            call()


def test_steps_that_no_integration_follows_are_refused():
    """With S_Delta of 1e4 and the horizon's two thousand units of time, a run took hours."""
    big = 1e4 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for call in (
        lambda: settle(EYE[None], big[None], e1[None]),
        lambda: predict_limit(EYE, big, e1),
    ):
        with pytest.raises(ValueError, match="^S_Delta: got .* up to 1000 in size"):
            call()


def test_near_the_largest_float_equilibria_would_be_missed():
    S_Delta = torch.tensor([[1, -1, 0.5], [0.3, 1, -1], [-0.7, 0.2, 1]], dtype=torch.float64)
    assert len(equilibria(EYE, 1e100 * S_Delta)) == len(equilibria(EYE, S_Delta))
    with pytest.raises(ValueError, match="^S_Delta: got 1.7e[+]308 in it, .* up to 1e[+]100"):
        equilibria(EYE, 1.7e308 * S_Delta)


@pytest.mark.parametrize(
    ("name", "bad"),
    [("precision", 2), ("precision", 128.0), ("finest", 0), ("finest", math.nan), ("finest", -1)],
)
def test_intervals_of_the_circle_come_to_an_end(name, bad):
    with pytest.raises(ValueError, match=f"^{name}: got .*, takes"):
        isolate([[1, 0], [0, 1]], [[1, 0], [0, 2]], **{name: bad})
    # Where they are taken, the least of both end, in zeros or in a refusal.
    least = {"precision": {"precision": 16}, "finest": {"finest": 1e-15}}[name]
    try:
        assert isolate([[1, 0], [0, 1]], [[1, 0], [0, 2]], **least)
    except RuntimeError as error:
        assert "undecided" in str(error)


@pytest.mark.parametrize("of", [np.asarray, torch.as_tensor, list])
def test_an_error_is_no_complex_number(of):
    times = np.linspace(0, 10, 50)
    with pytest.raises(ValueError, match="^error: got dtype .*complex128"):
        fit_exponential(times, of(np.exp(-times) * (1 + 1j)))
