import pytest
import torch

from tokensphere.other_tokens import following
from tokensphere.other_tokens.following import Dials, follow, mean_and_error, near_first


def test_near_the_first_token_or_its_antipode():
    e1, e2 = torch.eye(2, dtype=torch.float64)
    close = torch.tensor([0.005, 1.0], dtype=torch.float64)
    x = torch.stack([e2, e2, -e2, e1, close / close.norm()])
    assert near_first(x).tolist() == [True, True, False, True]


def test_all_tokens_join_where_steps_and_rates_are_shared_and_the_form_is_the_identity():
    joined, moving = follow("identity", 2, Dials(scale=0), draws=8, length=4, horizon=60.0)
    assert joined == [3] * 8 and moving == [0] * 8


def test_none_joins_within_no_time():
    joined, moving = follow("identity", 3, Dials(), draws=8, length=4, horizon=1e-6)
    assert joined == [0] * 8 and moving == [3] * 8


def test_the_dials_turn_one_set_of_draws(monkeypatch):
    seen = []

    class Spy(following.MambaFlow):
        def __post_init__(self):
            super().__post_init__()
            seen.append((self.S_BC, self.S_Delta, self.a))

    monkeypatch.setattr(following, "MambaFlow", Spy)
    for dials in (Dials(2.0, 3.0, 0.0), Dials(1.0, 1.0, 0.5)):
        follow("Gaussian", 3, dials, draws=2, length=2, horizon=0.1)
    (form, steps, rates), (same_form, same_steps, spread) = seen
    torch.testing.assert_close(form, same_form)
    torch.testing.assert_close(steps, 2 * same_steps)
    assert (rates == 3).all()
    assert (spread - 1).abs().max() <= 0.5 and spread.std() > 0.1


def test_the_same_seed_gives_the_same_counts():
    options = {"draws": 4, "length": 3, "horizon": 5.0}
    assert follow("Gaussian", 3, Dials(), **options) == follow("Gaussian", 3, Dials(), **options)


def test_one_dial_at_a_time_has_every_setting(monkeypatch):
    monkeypatch.setattr(following, "FORMS", ("identity",))
    found = following.one_dial_at_a_time([2], draws=2, horizon=0.1, seed=0)
    settings = found["identity, D=2"]
    assert set(settings) == {str(d) for series in following.TURNED.values() for d in series}
    assert all(len(text) == 2 for texts in settings.values() for text in texts)


def test_several_processes_find_the_same():
    options = {"dims": [2], "draws": 2, "horizon": 0.1, "seed": 0}
    alone = following.one_dial_at_a_time(**options)
    assert following.one_dial_at_a_time(**options, workers=2) == alone


@pytest.mark.parametrize("wrong", [{"scale": -1}, {"level": 0}, {"spread": 1}])
def test_dials_have_ranges(wrong):
    with pytest.raises(ValueError, match="dials: got"):
        Dials(**wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("round", 2), "form"), (("identity", 1), "dim: got 1"), (("identity", 2), "length: got 1")],
)
def test_what_cannot_be_drawn_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        follow(*arguments, Dials(), draws=1, length=1)


def test_a_mean_and_its_error():
    assert mean_and_error([0, 0, 1, 1]) == (0.5, pytest.approx((1 / 3) ** 0.5 / 2))
    with pytest.raises(ValueError, match=r"values: got shape \(1,\), takes .* n >= 2"):
        mean_and_error([1.0])
