"""Families of coefficients: by their formulas, entry by entry, and their bounds."""

import pytest
import torch

from tokensphere.flow import AutoregressiveFlow, random_tokens
from tokensphere.other_tokens.coefficients import (
    constant,
    log_bilinear,
    random_families,
    stacked,
    state_space,
    toeplitz,
)


def normal(g, *shape):
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def test_a_toeplitz_weight_depends_on_the_lag():
    g = torch.Generator().manual_seed(0)
    kernel, x = normal(g, 2, 4), random_tokens(2, 5, 3, generator=g)
    weights = toeplitz(kernel)(x)
    for l in range(5):
        for j in range(5):
            wanted = kernel[:, l - j - 1] if j < l else torch.zeros(2).double()
            assert torch.equal(weights[:, l, j], wanted)


def test_a_state_space_model_is_its_recurrence():
    """y_l = c h_l, h_l = A (h_{l-1} + b x_{l-1}), for scalar inputs."""
    g = torch.Generator().manual_seed(1)
    b, c, inputs = normal(g, 3), normal(g, 3), normal(g, 6)
    A = 0.3 + 0.6 * torch.rand(3, generator=g, dtype=torch.float64)
    weights = state_space(b * c, A, 6)(random_tokens(6, 2, generator=g))
    state, outputs = torch.zeros(3).double(), []
    for value in inputs:
        outputs.append(c @ state)
        state = A * (state + b * value)
    torch.testing.assert_close(weights @ inputs, torch.stack(outputs), rtol=0, atol=1e-13)


def test_log_bilinear_weights_and_their_bound():
    g = torch.Generator().manual_seed(2)
    bias, form, x = normal(g, 4, 4), normal(g, 3, 3), random_tokens(500, 4, 3, generator=g)
    weights = log_bilinear(bias, form)(x)
    one = torch.exp(bias[2, 1] + x[7, 2] @ (form @ x[7, 1]))
    torch.testing.assert_close(weights[7, 2, 1], one, rtol=1e-13, atol=0)
    assert (weights >= torch.exp(bias - torch.linalg.matrix_norm(form, 2))).all()


def test_families_have_positive_row_sums_and_stack():
    g = torch.Generator().manual_seed(3)
    families = random_families(3, 5, 4, g)
    x = random_tokens(len(families), 3, 5, 4, generator=g)
    weights = AutoregressiveFlow(stacked(families.values())).attention(x).tril(-1)
    assert weights.shape == (4, 3, 5, 5)
    assert (weights >= 0).all() and (weights.sum(-1)[..., 1:] > 0).all()
    for index, family in enumerate(families.values()):
        assert torch.equal(weights[index], family(x[index]).tril(-1))
    assert (weights[2, :, 4, :2] == 0).all()  # a window of two


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: constant(torch.ones(2, 3).double()), "weights"),
        (lambda: toeplitz(torch.ones(3)), "kernel"),
        (lambda: state_space(torch.ones(2).double(), torch.ones(2).double(), 1), "length"),
        (lambda: log_bilinear(torch.ones(2, 2).double(), torch.ones(2, 3).double()), "form"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        make()
