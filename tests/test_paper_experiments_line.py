"""The comparison of predictions with integrations: it agrees, and it notices what is wrong."""

import dataclasses

import pytest

from tokensphere.paper.experiments import line


def test_predictions_and_integrations_agree():
    found = line.agreement(1, 24)
    assert found["disagreements"] == []
    assert {"to zero", "slow", "blow-up"} <= found["kinds"].keys()
    assert found["compared"]["time of a plain integration"] > 3


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {"constants": said.constants * (1 + 1e-4)},
        lambda said: {"time": said.time * (1 + 1e-6)},
        lambda said: {"first": None if said.first is None else said.diverging[-1]},
    ],
    ids=["constants", "time", "first"],
)
def test_a_wrong_prediction_is_noticed(monkeypatch, change):
    right = line.predict

    def wrong(*arguments):
        said = right(*arguments)
        return dataclasses.replace(said, **change(said))

    monkeypatch.setattr(line, "predict", wrong)
    assert line.agreement(1, 12)["disagreements"]


def test_bad_numbers_are_refused(capsys):
    assert line.main(["--record", "x.json", "--draws", "0"]) == 2
    assert capsys.readouterr().err == "line: --draws and --processes take positive numbers\n"
