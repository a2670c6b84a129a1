"""The laboratory's own modules, run by node, against the library: random and preset parameters.

Fields agree to 1e-12, trajectories to 1e-6, equilibria, spectra and times to 1e-9, each of what is
compared or of one, whichever is larger; the reasons stand where it is less.
"""

import json
import math
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tokensphere import circle, one_dimension
from tokensphere.first_token import Family, equilibria, jacobian, predict_limit, spectrum
from tokensphere.flow import FirstTokenFlow, MambaFlow, random_tokens, simulate
from tokensphere.other_tokens.spectra import consensus_rate, consensus_spectrum
from tokensphere.paper import laboratory

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node here to run the page's modules")

PROGRAM = Path(__file__).parent / "laboratory" / "evaluate.mjs"
DRAWS = 200
FIELD, TRAJECTORY, PLACE = 1e-12, 1e-6, 1e-9


def evaluate(**asked):
    """The answers of the page's modules: lists by task, as `asked`."""
    text = json.dumps(asked)
    done = subprocess.run([NODE, PROGRAM], input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def off(found, said) -> float:
    """The largest difference, of one or of what is said, whichever is larger."""
    found, said = np.asarray(found, dtype=float), np.asarray(said, dtype=float)
    assert found.shape == said.shape
    with np.errstate(invalid="ignore"):
        apart = np.where(found == said, 0.0, abs(found - said) / np.maximum(1.0, abs(said)))
    return float(apart.max(initial=0.0))


def number(value) -> float:
    return math.nan if value is None else float(value)


@cache
def spheres() -> list[dict]:
    """Sequences on the sphere: random ones of 1 to 16 tokens, and the presets."""
    generator = torch.Generator().manual_seed(20)
    found = []
    for index in range(DRAWS):
        S_BC, S_Delta = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
        a = torch.rand(3, generator=generator, dtype=torch.float64) + 0.05
        S_Delta = S_Delta * (1, 3, 0.1)[index % 3]
        if index % 5 == 0:  # a definite form
            S_BC = S_BC @ S_BC.mT * (-1) ** index
        if index % 7 == 0:  # shared steps
            S_Delta, a = S_Delta[:, :1].expand(3, 3).contiguous(), a[:1].expand(3).contiguous()
        if index % 11 == 0:
            S_Delta = torch.round(S_Delta)  # ties
        x = random_tokens(1 + index % 16, 3, generator=generator)
        numbers = {"S_BC": S_BC, "S_Delta": S_Delta, "a": a, "x": x}
        found.append({name: value.tolist() for name, value in numbers.items()})
        found[-1]["alone"] = index % 9 == 0
    return found + presets("sphere")


def presets(bench: str) -> list[dict]:
    return [one["state"] for one in laboratory.presets() if one["bench"] == bench]


def flow_of(one: dict) -> MambaFlow | FirstTokenFlow:
    if one["alone"]:
        return FirstTokenFlow(tensor(one["S_BC"]), tensor(one["S_Delta"]))
    return MambaFlow(*(tensor(one[name]) for name in ("S_BC", "S_Delta", "a")))


def test_fields_and_attention():
    answers = evaluate(field=spheres(), attention=spheres())
    for one, field, attention in zip(spheres(), *answers.values(), strict=True):
        flow, x = flow_of(one), tensor(one["x"])
        assert off(np.reshape(field, x.shape), flow(x)) < FIELD
        if not one["alone"]:
            assert off(attention, flow.attention(x)) < FIELD


def test_trajectories():
    times = torch.linspace(0, 10, 21, dtype=torch.float64)
    asked = [{**one, "times": times.tolist(), "rtol": 1e-9} for one in spheres()]
    worst = 0.0
    for one, path in zip(spheres(), evaluate(trajectory=asked)["trajectory"], strict=True):
        x = tensor(one["x"])
        said = simulate(flow_of(one), x, times, rtol=1e-11, atol=1e-14).tokens
        worst = max(worst, off(np.reshape(path, said.shape), said))
    assert worst < TRAJECTORY


def test_equilibria_and_spectra():
    asked = [{name: one[name] for name in ("S_BC", "S_Delta")} for one in spheres()]
    counts = []
    for one, found in zip(asked, evaluate(equilibria=asked)["equilibria"], strict=True):
        S_BC, S_Delta = tensor(one["S_BC"]), tensor(one["S_Delta"])
        said = equilibria(S_BC, S_Delta)
        assert len(found) == len(said)
        size = float(S_BC.norm() * (1 + S_Delta.norm()))
        rest = list(found)
        for each in said:
            if isinstance(each, Family):
                same = [other for other in rest if other.get("basis") and _spans(other, each)]
            else:
                near = lambda other, each=each: off(other["point"], each.point) < PLACE  # noqa: E731
                same = [other for other in rest if other.get("point") and near(other)]
                values = torch.view_as_real(each.eigenvalues) / size
                assert off(np.array(same[0]["eigenvalues"]) / size, values) < _defect(values)
                there = jacobian(S_BC, S_Delta, each.point)
                assert off(same[0]["jacobian"], there) < FIELD * max(1.0, size)
            assert len(same) == 1 and same[0]["stability"] == each.stability
            assert same[0]["kind"] == each.kind and tuple(same[0]["support"]) == each.support
            rest.remove(same[0])
        counts.append(len(said))
    assert max(counts) == 14 and min(counts) == 1


def _spans(other: dict, family: Family) -> bool:
    basis = tensor(other["basis"]).mT
    return basis.shape == family.basis.shape and bool(
        (family.basis @ (family.basis.mT @ basis) - basis).abs().max() < PLACE
    )


def _defect(values: Tensor) -> float:
    """PLACE; where two eigenvalues are near one another, the root of rounding is all they have."""
    gap = float((values[0] - values[-1]).norm())
    return PLACE if gap > 1e-7 else 1e-7


def test_zeros_of_the_form_have_their_spectra():
    generator = torch.Generator().manual_seed(21)
    asked = []
    for _ in range(DRAWS):
        S_BC, S_Delta = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
        values, vectors = torch.linalg.eigh((S_BC + S_BC.mT) / 2)
        if values[0] * values[-1] < 0:
            y = vectors[:, 0] * values[-1] ** 0.5 + vectors[:, -1] * (-values[0]) ** 0.5
            asked.append({"S_BC": S_BC, "S_Delta": S_Delta, "y": y / y.norm()})
    plain = [{name: value.tolist() for name, value in one.items()} for one in asked]
    for one, found in zip(asked, evaluate(spectrum=plain)["spectrum"], strict=True):
        said = torch.view_as_real(spectrum(one["S_BC"], one["S_Delta"], one["y"]))
        assert off(found, said) < PLACE


@pytest.mark.filterwarnings("ignore:Input .a. has an eigenvalue pair")  # points of families
def test_limits_of_first_tokens():
    horizon = 320.0  # cycles are followed to their horizon, which is 2000 on the page
    asked = [
        {"S_BC": one["S_BC"], "S_Delta": one["S_Delta"], "y": one["x"][0], "horizon": horizon}
        for one in [*spheres()[:DRAWS:4], *presets("sphere")]
    ]
    arguments = set()
    for one, found in zip(asked, evaluate(limit=asked)["limit"], strict=True):
        said = predict_limit(*(tensor(one[name]) for name in ("S_BC", "S_Delta", "y")), horizon)
        if said.point is not None and (said.point * tensor(one["y"]) < -1e-5).any():
            # No first token leaves its octant: rounding carried the library's run across. The page
            # looks at this, and says that it knows no end.
            assert found["argument"] == "none found"
            continue
        assert (found["kind"], found["argument"]) == (said.kind, said.argument)
        arguments.add(said.argument)
        if said.point is not None:
            # A zero of the form is where an integration leads, to its tolerance of 1e-8.
            tolerance = 1e-5 if said.kind == "zero of the form" else PLACE
            assert off(found["point"], said.point) < tolerance
            if said.argument == "at rest":  # nothing approaches: a rate is rounding
                continue
            if said.rate is None:
                assert found["rate"] is None
            else:
                assert off(found["rate"], said.rate) < 10 * tolerance
    assert {"certified neighbourhood", "largest step", "at rest"} <= arguments


def test_rates_of_consensus():
    generator = torch.Generator().manual_seed(22)
    asked = []
    for index in range(DRAWS):
        S_BC, S_Delta = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
        a = torch.rand(3, generator=generator, dtype=torch.float64) + 0.05
        S_BC[0, 0] = S_BC[0, 0].abs()
        x1 = tensor([[1, 0, 0], [-1, 0, 0]][index % 2])
        signs = torch.ones(1 + index % 6, dtype=torch.float64)
        if index % 4 == 0:
            signs[1:] = torch.randn(len(signs) - 1, generator=generator).sign()
        asked.append({"S_BC": S_BC, "S_Delta": S_Delta, "a": a, "x1": x1, "signs": signs})
    plain = [{name: value.tolist() for name, value in one.items()} for one in asked]
    attracting = 0
    for one, found in zip(asked, evaluate(consensus=plain)["consensus"], strict=True):
        flow = MambaFlow(one["S_BC"], one["S_Delta"], one["a"])
        assert off(found["spectrum"], consensus_spectrum(flow, one["x1"], one["signs"])) < PLACE
        if None not in found["rates"]:
            said = consensus_rate(flow, one["x1"], one["signs"])
            assert off(found["rates"], said.rates) < PLACE
            attracting += 1
    assert attracting > 10


@cache
def circles() -> list[dict]:
    generator = torch.Generator().manual_seed(23)
    draws = torch.randn(DRAWS, 2, 2, 2, generator=generator, dtype=torch.float64)
    draws[::4] = torch.round(draws[::4])  # coincidences
    starts = (2 * math.pi * torch.rand(12, generator=generator, dtype=torch.float64)).tolist()
    return [
        {"S_BC": S_BC, "S_Delta": S_Delta, "starts": starts}
        for S_BC, S_Delta in [
            *draws.tolist(),
            *((one["S_BC"], one["S_Delta"]) for one in presets("circle")),
        ]
    ]


def test_the_angular_speed():
    asked = [{**one, "angle": angle} for one in circles() for angle in one["starts"][:3]]
    for one, found in zip(asked, evaluate(angular=asked)["angular"], strict=True):
        said = float(
            circle.angular_field(one["S_BC"], one["S_Delta"], circle.field.arb(one["angle"]))
        )
        assert off(found, said) < FIELD


def test_portraits_on_the_circle():
    several = 0
    for one, found in zip(circles(), evaluate(portrait=circles())["portrait"], strict=True):
        said = circle.portrait(one["S_BC"], one["S_Delta"])
        assert tuple(found["everywhere"]) == said.everywhere
        assert [each["kinds"] for each in found["zeros"]] == [
            list(each.kinds) for each in said.zeros
        ]
        for name in ("angle", "order", "leading"):
            values = [float(getattr(each, name)) for each in said.zeros]
            assert off([each[name] for each in found["zeros"]], values) < PLACE
        assert [each["stability"] for each in found["zeros"]] == [z.stability for z in said.zeros]
        assert tuple(found["signs"]) == said.signs
        several += any(len(each.kinds) > 1 or each.order > 1 for each in said.zeros)
        shares = {", ".join(kinds): float(share) for kinds, share in said.shares().items()}
        assert found["shares"].keys() == shares.keys()
        assert (
            off(list(found["shares"].values()), [shares[name] for name in found["shares"]]) < PLACE
        )
        if said.zeros:
            limits = [said.zeros.index(said.limit(start)) for start in one["starts"]]
            assert found["limits"] == limits
    assert several > 10


@cache
def lines() -> list[dict]:
    rng = np.random.default_rng(24)
    found = []
    for index in range(DRAWS):
        mu, s = rng.standard_normal(2)
        mu *= index % 29 != 0
        s *= index % 6 != 0
        a = 0.05 * 100 ** rng.random()
        x0 = rng.standard_normal(1 + index % 8)
        if index % 5 == 0:
            x0[len(x0) // 2] = 0.0
        if index % 4 == 1:
            x0 = -abs(x0) * np.sign(s)
        found.append({"mu": float(mu), "s": float(s), "a": float(a), "x0": x0.tolist()})
    return found + [{k: one[k] for k in ("mu", "s", "a", "x0")} for one in presets("line")]


def test_velocities_on_the_line():
    asked = [{**one, "x": one["x0"]} for one in lines()]
    for one, found in zip(lines(), evaluate(velocity=asked)["velocity"], strict=True):
        said = one_dimension.velocity(tensor(one["x0"]), one["mu"], one["s"], one["a"])
        assert off(found, said) < FIELD


def test_predictions_and_blow_ups_on_the_line():
    kinds = set()
    for one, found in zip(lines(), evaluate(line=lines())["line"], strict=True):
        said = one_dimension.predict(**one)
        kinds.add(said.kind)
        assert found["kind"] == said.kind and tuple(found["diverging"]) == said.diverging
        constants = [number(value) for value in found["constants"]]
        assert np.array_equal(np.isnan(constants), np.isnan(said.constants.numpy()))
        assert off(np.nan_to_num(constants), said.constants.nan_to_num()) < PLACE
        assert found["first"] == said.first
        if said.kind != "blow-up":
            continue
        # The library's integration to the event keeps 1e-8 of a time, its quadrature 1e-12.
        assert abs(found["time"] / said.time - 1) < (1e-8 if said.computed else PLACE)
        assert abs(found["reached"]["time"] / found["time"] - 1) < PLACE
        assert found["reached"]["first"] in (None, said.first)
        bounds = one_dimension.time_bounds(**one)
        assert off(np.divide(found["bounds"], bounds), [1.0, 1.0]) < PLACE
    assert kinds == {"rest", "to zero", "slow", "blow-up"}


def test_trajectories_on_the_line():
    asked = []
    for one in lines():
        end = one_dimension.predict(**one).time
        last = math.log(0.99 * end) if math.isfinite(end) else 30.0
        asked.append({**one, "logTimes": np.linspace(last - 10, last, 6).tolist()})
    for one, found in zip(asked, evaluate(run=asked)["run"], strict=True):
        times = one.pop("logTimes")
        said = one_dimension.simulate(**one, log_times=times).log_x
        assert found["status"] == "arrived"
        assert off([[float(value) for value in row] for row in found["logs"]], said) < TRAJECTORY


def test_a_run_past_a_blow_up_says_so():
    asked = [{"mu": 1, "s": 1, "a": 0.5, "x0": [1, -3, 0.9], "logTimes": [0.0]}]
    (found,) = evaluate(run=asked)["run"]
    assert found["status"] == "blow-up"
    assert abs(math.exp(found["end"]) - one_dimension.predict(1, 1, 0.5, [1, -3, 0.9]).time) < 1e-8
