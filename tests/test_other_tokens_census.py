"""Ends and clusters of tokens, on tokens that are placed by hand."""

import math

import pytest
import torch

from tokensphere.flow import MambaFlow, random_tokens
from tokensphere.other_tokens.census import (
    ENDS,
    Census,
    census,
    count_clusters,
    random_sign_steps,
    shares_by_end,
    token_ends,
)

EYE = torch.eye(3, dtype=torch.float64)
FLOW = MambaFlow(EYE, EYE, torch.ones(3, dtype=torch.float64))


def test_ends_of_tokens_placed_by_hand():
    near = EYE[0] + 0.005 * EYE[1]
    middle = (EYE[0] + EYE[1]) / math.sqrt(2)
    x = torch.stack([EYE[0], near / near.norm(), -EYE[0], -EYE[2], middle])
    found = [ENDS[i] for i in token_ends(FLOW, x)]
    assert found == [*ENDS[:3], "still moving"]
    assert token_ends(FLOW, x, slow=10.0)[-1] == ENDS.index("elsewhere")
    batch = token_ends(FLOW, torch.stack([x, x]))
    assert batch.shape == (2, 4)
    assert torch.equal(batch[1], token_ends(FLOW, x))


def test_the_first_token_s_own_vertex_counts_as_the_first_token():
    x = torch.stack([EYE[1], EYE[1], -EYE[1], EYE[0]])
    assert token_ends(FLOW, x).tolist() == [0, 1, 2]


def test_clusters_are_chains():
    angle = torch.tensor([0.0, 0.04, 0.08, 1.0, 1.04, 3.0], dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    assert int(count_clusters(x)) == 3
    assert int(count_clusters(x, size=0.03)) == 6
    assert count_clusters(torch.stack([x, x[:1].expand_as(x)])).tolist() == [3, 1]
    assert int(count_clusters(x[:1])) == 1


def test_long_chains_are_one_cluster():
    angle = 0.04 * torch.arange(40, dtype=torch.float64)
    assert int(count_clusters(torch.stack([angle.cos(), angle.sin()], -1))) == 1


def test_joining_by_hand():
    ends = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 1]])
    found = Census(torch.zeros(2, 5, 3), ends, {})
    assert found.joins.tolist() == [[True, True, False, False], [True] * 4]
    assert found.shares() == dict(zip(ENDS, (3 / 8, 3 / 8, 1 / 8, 1 / 8, 0), strict=True))
    mean, error = found.share_that_joins()
    assert mean == 0.75
    # Shares 1/2 and 1: a deviation of sqrt(1/8), over sqrt 2.
    assert error == pytest.approx(0.25)


def test_a_census_of_tokens_that_all_join():
    g = torch.Generator().manual_seed(0)
    flow, x0 = random_sign_steps(6, 3, 4, g, rates=(0.1, 0.2))
    found = census(flow, x0, stop=60.0)
    assert found.x.shape == (6, 4, 3)
    assert bool(found.joins.all())
    assert found.share_that_joins() == (1.0, 0.0)
    assert found.clusters.keys() == {2, 4}
    assert found.clusters[4] <= 2
    early = census(flow, x0, stop=1e-6)
    assert early.clusters[4] > 3.5
    assert (early.ends == ENDS.index("still moving")).double().mean() > 0.9


@pytest.mark.parametrize("definite", [False, True])
def test_random_models_meet_theorem_3_2(definite):
    g = torch.Generator().manual_seed(1)
    flow, x0 = random_sign_steps(20, 3, 2, g, rates=(2.0, 3.0), definite=definite)
    values = torch.linalg.eigvalsh(flow.S_BC)
    torch.testing.assert_close(flow.S_BC, flow.S_BC.mT)
    assert values.min() > 1 - 1e-12
    assert values.max() < 2 + 1e-12
    assert (values.max() > 1.5) == definite
    assert torch.equal(flow.S_Delta.diagonal(dim1=-2, dim2=-1), x0[:, 0].sign())
    assert flow.S_Delta.count_nonzero() == 60
    assert flow.a.min() > 2
    assert flow.a.max() < 3
    assert flow.a.std() > 0.2
    with pytest.raises(ValueError, match="rates"):
        random_sign_steps(1, 2, 2, g, rates=(0.0, 1.0))


def test_random_tokens_do_not_cluster():
    x = random_tokens(5, 3, 40, generator=torch.Generator().manual_seed(0))
    assert count_clusters(x).tolist() == [3] * 5


def test_shares_of_counted_sequences():
    # Two sequences of three later tokens: 2 and 1 of them "here", the others "there".
    table = {
        "vertex": {"here": [0, 0, 1, 0], "there": [0, 1, 0, 0]},
        "zero": {"here": [0, 1, 0, 0], "there": [0, 0, 1, 0]},
        "none": {"here": [0, 0, 0, 0], "there": [0, 0, 0, 0]},
    }
    assert shares_by_end(table) == {"here": 0.5, "there": 0.5}
    with pytest.raises(ValueError, match="table: holds no sequence"):
        shares_by_end({"none": table["none"]})
