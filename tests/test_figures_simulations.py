"""What the book shows of random parameters."""

import matplotlib.pyplot as plt
import pytest

from tokensphere import records
from tokensphere.first_token import KINDS
from tokensphere.other_tokens.following import FORMS, TURNED, Dials
from tokensphere.paper import survey
from tokensphere.paper.figures import simulations

SETTINGS = [str(dials) for series in TURNED.values() for dials in series]
EQUAL, SPREAD = Dials(), Dials(spread=0.5)


@pytest.fixture(scope="module")
def counts():
    return records.load(records.path("survey.json")).data


def sequences(first, second):
    """A law's histograms: sequences by how many of seven tokens join the first, or its antipode."""
    empty = {end: [0] * 8 for end in survey.ENDS}
    table = {kind: dict(empty) for kind in KINDS}
    table[KINDS[0]] = dict(empty) | {survey.ENDS[0]: first, survey.ENDS[1]: second}
    return {"a law": table}


def test_the_share_that_joins_is_the_mean_of_both_ends():
    later = sequences([1, 0, 0, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0, 0, 0])
    mean, error, n = simulations.joined(later, "a law")
    assert (mean, n) == (0.5, 2)
    assert error == pytest.approx((0.25 / 2) ** 0.5)


def test_no_sequence_has_no_share():
    later = sequences([2, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0])
    mean, _, n = simulations.joined(later, "a law", [KINDS[1]])
    assert n == 0 and mean != mean


def test_a_law_a_row(counts):
    text = simulations.ends_table(counts["first"]).data
    assert text.count("\n") == 1 + len(counts["first"])
    assert "| 73.2% (71.2% to 75.1%) |" in text
    text = simulations.joined_by_end_table(counts["later"], [2, 32]).data
    assert "| identity, D=2 | 46.2% ± 1.7% |" in text


def dials(law="identity, D=2"):
    texts = {name: ["70", "07"] for name in SETTINGS} | {str(SPREAD): ["00", "07"]}
    return {f"{form}, D=2": texts for form in FORMS}


def test_shares_are_of_seven_tokens():
    assert simulations.shares(dials(), "identity, D=2", EQUAL).tolist() == [1, 0]
    assert simulations.shares(dials(), "identity, D=2", EQUAL, moving=True).tolist() == [0, 1]


def test_changes_are_paired():
    row = simulations.spread_table(dials(), [2]).data.splitlines()[-1]
    assert row.startswith("| identity, D=2 | 50.0% ± 100.0% | +0.0 ± 0.0 |")
    assert row.endswith("| -50.0 ± 100.0 |")


def test_curves_are_drawn(counts):
    for figure, panels in (
        (simulations.survey_curves(counts, [2, 3]), 3),
        (simulations.dial_curves(dials(), [2]), 4),
    ):
        assert len(figure.axes) == panels
        plt.close(figure)
