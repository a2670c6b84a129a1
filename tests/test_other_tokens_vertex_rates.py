"""Rates fitted to runs near consensus at coordinate vectors."""

import pytest
import torch

from tokensphere.flow import MambaFlow
from tokensphere.other_tokens import consensus_spectrum
from tokensphere.other_tokens.vertex_rates import approach_vertices, random_vertex_consensus
from tokensphere.paper import survey
from tokensphere.rates import fit_exponential


def gaussian(count, generator):
    return MambaFlow(*survey.draw("Gaussian", 3, count, generator))


@pytest.fixture(scope="module")
def points():
    g = torch.Generator().manual_seed(0)
    return random_vertex_consensus(gaussian(400, g), 5, 3, g)


def test_points_are_scaled_to_rate_one(points):
    assert points.x.shape == (5, 3, 3)
    assert points.equal.tolist() == [True, False, True, False, True]
    for n, x in enumerate(points.x):
        flow = MambaFlow(points.flow.S_BC[n], points.flow.S_Delta[n], points.flow.a[n])
        signs = x @ x[0]
        spectrum = consensus_spectrum(flow, x[0], signs)
        assert float(spectrum.max()) == pytest.approx(-1)
        first = -float(spectrum[0].max()) * float(points.rate[n])
        assert first == pytest.approx(float(points.first[n]))
        positive = float(flow.S_BC.diagonal() @ x[0].abs()) > 0
        assert (bool((signs > 0).all()) and positive) == bool(points.equal[n])
    assert torch.equal(points.first[points.equal], points.rate[points.equal])


def test_fits_are_the_predicted_rates(points):
    g = torch.Generator().manual_seed(1)
    times, error = approach_vertices(points, g)
    assert error.shape == (len(times), 5)
    fitted = [fit_exponential(times, run).rate for run in error.mT]
    assert fitted == pytest.approx([1.0] * 5, rel=0.01)


def test_too_few_parameters_are_refused():
    g = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="flow: a batch of 3"):
        random_vertex_consensus(gaussian(3, g), 4, 3, g)
