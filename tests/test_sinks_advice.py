"""What a report says to do next, by what it has found."""

import pytest

from tokensphere.sinks.report.advice import advice


def report(*verdicts, count=40, median=64, cut=0, bos=False, token=1, logits=True):
    """Layers by outcome or kind, or by how many prompts one that is not decided needs."""
    layers = []
    for index, found in enumerate(verdicts):
        kind = found if found in ("position", "token", "undetermined") else None
        undecided = found is None or isinstance(found, int)
        outcome = "sink" if kind else "undecided" if undecided else "uniform"
        verdict = {"outcome": outcome, "kind": kind, "needed": found if undecided else None}
        layers.append({"name": f"layers.{index}.mixer", "verdict": verdict})
    return {
        "prompts": {"count": count, "lengths": [2, median, 99], "cut": cut}
        | {"bos": bos, "bos_token": token},
        "model": {"logits": logits},
        "uniform": {"mean": [0.21]},
        "layers": layers,
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (report(9, 9, count=4), ["Of 4 different prompts nothing is decided: give at least 5"]),
        (
            report(60),
            ["1 layer is not decided: about 60 prompts like these 40 would decide it, with"],
        ),
        (
            report("uniform", 60, 1234),
            [
                "2 layers are not decided: about 1,300 prompts like",
                "would decide all of them, each with a chance",
            ],
        ),
        (report(60, None), ["about 60 prompts like these 40 would decide 1 of them, with a"]),
        (report(None), ["1,000,000 prompts like these would not decide"]),
        (report("uniform", median=16), ["at most 16 tokens", "0.21: give longer ones."]),
        (report("uniform", median=16, cut=30), ["raise --max-length."]),
        (
            report("position", "uniform", "position"),
            ["in layers.0.mixer, layers.2.mixer matters", "--ablate tells"],
        ),
        (report(*["position"] * 5), ["in layers.0.mixer and 4 more layers matters"]),
        (report("token"), ["layers.0.mixer goes with the token", "--replace-with or --bos."]),
        (report("token", bos=True), ["layers.0.mixer goes with", "--replace-with or --no-bos."]),
        (report("token", token=None), ["layers.0.mixer goes with the", "by --replace-with."]),
        (report("position", logits=False), ["in layers.0.mixer is there whichever token"]),
        (report("uniform", token=None), ["at longer prompts, by --max-length."]),
        (report("undetermined"), ["layers.0.mixer is open", "--replace-with"]),
        (report("uniform"), ["No layer gives its first token more", "with a beginning", "--bos"]),
        (report("uniform", bos=True), ["without a beginning-of-text token, by --no-bos"]),
    ],
)
def test_what_to_do_next(data, said):
    found = " ".join(advice(data))
    for part in said:
        assert part in found


def test_the_most_urgent_comes_first_and_there_is_always_one():
    found = advice(report("position", "token", 90, median=8))
    assert [sentence.split()[0] for sentence in found] == ["1", "Half", "Whether", "The"]
    for one in ("position", "token", "undetermined", "uniform", 9, None):
        assert advice(report(one))
    # What an ablation has shown already is not asked for.
    for done in ({**report("position"), "ablation": {}}, report("position", logits=False)):
        assert "ablate" not in " ".join(advice(done)) and advice(done)
