"""The symbolic Jacobian at +-x_1: its closed form, and numbers by automatic differentiation."""

import pytest
import sympy as sp
import torch

from tokensphere.flow import AutoregressiveFlow
from tokensphere.other_tokens import tangent_jacobian
from tokensphere.other_tokens.coefficients import constant
from tokensphere.other_tokens.symbolic_consensus import consensus_jacobian


@pytest.mark.parametrize("signs", [(1, -1), (1, 1, -1), (1, -1, 1)])
def test_the_closed_form_is_the_derivative(signs):
    found, closed_form = consensus_jacobian(signs)
    assert (found - closed_form).applyfunc(sp.simplify) == sp.zeros(*found.shape)


def test_the_derivative_has_the_spectrum_of_the_flow():
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    weights = torch.tensor([[0, 0, 0], [0.5, 0, 0], [2.0, 0.7, 0]], dtype=torch.float64)
    x = signs[:, None] * torch.eye(3).double()[0]
    J = tangent_jacobian(AutoregressiveFlow(constant(weights)), x)
    values = torch.linalg.eigvals(J).real.sort().values
    _, closed_form = consensus_jacobian([1, -1, 1])
    names = {"a21": 0.5, "a31": 2.0, "a32": 0.7}
    numbers = closed_form.replace(
        lambda part: part.is_Function, lambda part: sp.Float(names[part.func.__name__])
    )
    wanted = sorted([0.0, 0.0, *map(float, numbers.diagonal())])
    torch.testing.assert_close(values, torch.tensor(wanted).double(), rtol=0, atol=1e-6)


def test_other_signs_are_refused():
    for signs in ([1], [-1, 1], [1, 0]):
        with pytest.raises(ValueError, match="^signs:"):
            consensus_jacobian(signs)
