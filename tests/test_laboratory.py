"""The laboratory's presets and its one program: complete, current, small, and the same Python."""

import ast
import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest

from tokensphere.paper import laboratory as presets
from tokensphere.paper import ledger

sys.path.insert(0, str(ledger.ROOT / "book" / "_ext"))
import laboratory
import notebooks

NODE = shutil.which("node")
PROGRAM = Path(__file__).parent / "laboratory" / "evaluate.mjs"
LIMIT = 1_000_000
"""Bytes of all that the page loads beside what every page of the book does."""
needs_node = pytest.mark.skipif(NODE is None, reason="no node here to run the page's modules")


def boxes() -> set[str]:
    """Every labelled box and figure of the chapters."""
    found = set()
    for page in notebooks.chapters():
        text = notebooks.source(page).read_text("utf-8")
        labels = re.findall(r"^`{3,}\{prf:\w+\}.*\n:label: (\S+)", text, re.MULTILINE)
        labels += re.findall(r"^    name: (fig-\S+)", text, re.MULTILINE)
        found |= {f"{page}#{label}" for label in labels}
    return found


def test_the_file_of_presets_is_current():
    kept = json.loads(presets.FILE.read_text("utf-8"))
    made = json.loads(presets.text())
    for law, shares in made["shares"].items():
        assert kept["shares"][law] == pytest.approx(shares)
    assert [one["name"] for one in kept["presets"]] == [one["name"] for one in made["presets"]]
    for old, new in zip(kept["presets"], made["presets"], strict=True):
        assert {**old, "state": None} == {**new, "state": None}
        assert old["state"].keys() == new["state"].keys()
        for name, value in new["state"].items():
            if isinstance(value, str):
                assert old["state"][name] == value
            else:  # other machines round otherwise
                assert np.allclose(old["state"][name], value, rtol=1e-9, atol=1e-9)


def test_every_box_and_figure_has_a_preset_or_a_reason():
    shown = {place for one in presets.presets() for place in one["places"]}
    assert shown <= boxes(), f"no such place: {shown - boxes()}"
    reasons = presets.ELSEWHERE
    left = {place for place in boxes() - shown if not {place, place.split("#")[0]} & reasons.keys()}
    assert not left, f"neither shown nor said why: {sorted(left)}"
    assert not shown & reasons.keys()
    known = boxes() | set(notebooks.chapters())
    assert reasons.keys() <= known, f"no such place: {reasons.keys() - known}"


def test_presets_have_names_and_words_of_their_own():
    made = presets.presets()
    for key in ("name", "title", "about"):
        assert len({(one["bench"], one[key]) for one in made}) == len(made)
    assert len({one["name"] for one in made}) == len(made)  # the role lab has one name for all
    assert {one["bench"] for one in made} == set(presets.BENCHES)
    assert all(re.fullmatch(r"[a-z0-9-]+", one["name"]) for one in made)


def test_the_page_has_every_bench():
    text = (ledger.ROOT / "book" / "laboratory.md").read_text("utf-8")
    assert re.findall(r'data-bench="(\w+)"', text) == list(presets.BENCHES)


def test_what_the_page_loads_is_small_and_asks_nobody():
    program = laboratory.program()
    style = (laboratory.SOURCES / "laboratory.css").read_text("utf-8")
    assert len(program.encode()) + len(style.encode()) < LIMIT
    for text in (program, style):
        assert not re.search(r"https?://|@import|\bfetch\(|XMLHttpRequest|importScripts", text)


def test_modules_are_joined_in_their_order(tmp_path):
    (tmp_path / "presets.json").write_text('{"presets": []}')
    (tmp_path / "app.js").write_text(
        'import {a} from "./first.js";\nexport function start() { globalThis.said = a; }\n'
    )
    (tmp_path / "first.js").write_text("export const a = 1;\nconst b = 2;\n")
    program = laboratory.program(tmp_path)
    assert program.index("modules.first =") < program.index("modules.app =")
    assert "return {a};" in program and not re.search(r"^(import|export)\b", program, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('import {a} from "./app.js";\n', "import one another: app > other > app"),
        ("export default 1;\n", "no import or export that is known here: export default 1;"),
    ],
)
def test_modules_that_cannot_be_joined_are_refused(tmp_path, text, said):
    (tmp_path / "app.js").write_text('import {b} from "./other.js";\n')
    (tmp_path / "other.js").write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        laboratory.program(tmp_path)


@needs_node
def test_the_program_runs():
    """As the modules do: its syntax, and its start as far as the page."""
    done = subprocess.run(
        [NODE, "--input-type=commonjs"],
        input=f"globalThis.document = {{querySelectorAll: () => {{throw new Error('page')}}}};"
        f"\n{laboratory.program()}",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Error: page" in done.stderr


@needs_node
def test_addresses_lead_back_and_wrong_ones_say_so():
    asked = [{"bench": one["bench"], "state": one["state"]} for one in presets.presets()]
    answers = evaluate(address=[*asked, *({**one, "presets": True} for one in asked)])["address"]
    plain, named = answers[: len(asked)], answers[len(asked) :]
    for one, own, short in zip(presets.presets(), plain, named, strict=True):
        assert own["back"] and short["back"]
        assert "preset=" not in own["fragment"]
        assert short["fragment"].startswith(f"bench={one['bench']}&preset=")
    wrong = {
        "bench=cube": "bench: got cube, takes sphere, circle, line",
        "bench=line&preset=limit-cycle": "preset: the line has none of the name limit-cycle",
        "bench=line&mu=1&s=1&a=0&x0=1&until=5": "a: got 0, takes a positive number",
        "bench=line&mu=one&s=1&a=1&x0=1&until=5": "mu: got one, takes a number",
        "bench=line&mu=1&s=1&a=1&until=5": "x0: is missing",
        "bench=line&mu=1&s=1&a=1&x0=1,,2&until=5": "x0: got , takes a number",
        "bench=circle&S_BC=1,0;0&S_Delta=1,0;0,1&starts=1&draws=none": (
            "S_BC: takes 2 rows of 2 numbers"
        ),
        "bench=sphere&S_BC=1,0,0;0,1,0;0,0,1&S_Delta=1,0,0;0,1,0;0,0,1&a=1,1,1&x=0,0,0"
        "&alone=true&until=5&clock=linear": "x: holds a token at the origin",
        "bench=sphere&S_BC=1,0,0;0,1,0;0,0,1&S_Delta=1,0,0;0,1,0;0,0,1&a=1,1,1&x=1,0,0"
        "&alone=true&until=5&clock=new": "clock: got new, takes linear or logarithmic",
    }
    found = evaluate(parsed=list(wrong))["parsed"]
    for said, expected in zip(found, wrong.values(), strict=True):
        assert expected in said["error"]
    assert evaluate(parsed=["", "the-sphere"])["parsed"] == [None, None]


@needs_node
def test_an_address_brings_nothing_but_numbers_into_the_lines_of_python():
    """Whoever sends the address of a state must not write what its reader copies and runs."""
    evil = '__import__("os").system("id")'
    line = {"mu": "1", "s": "1", "a": "1", "x0": "1,2", "until": "5"}
    identity = "1,0,0;0,1,0;0,0,1"
    sphere = {"S_BC": identity, "S_Delta": identity, "a": "1,1,1", "x": "1,0,0", "alone": "false"}
    sphere |= {"until": "5", "clock": "linear"}
    states = []
    for bench, fine in {"line": line, "sphere": sphere}.items():
        for key, value in fine.items():
            for text in (
                evil,
                f"{value}\n{evil}",
                f"{value};{evil}",
                f"{value},{evil}",
                f"{value}#",
            ):
                states.append({"bench": bench, **fine, key: text})
    asked = [*states, {"bench": evil}, {"bench": "line", "preset": evil}, {"bench": "__proto__"}]
    for found in evaluate(parsed=[urlencode(one) for one in asked])["parsed"]:
        assert "error" in found
    # What no bench has is left out, and other ways of writing numbers end as numbers.
    passes = [{"bench": "line", **line, "extra": evil}, {"bench": "line", **line, "mu": " 0x10"}]
    for found in evaluate(parsed=[urlencode(one) for one in passes])["parsed"]:
        (answer,) = evaluate(python=[{"bench": found["bench"], "state": found["state"]}])["python"]
        tree = ast.walk(ast.parse(answer["text"]))
        called = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}
        assert called <= {"math.log", "predict", "print", "simulate", "torch.linspace"}
    assert "mu, s, a = 16, 1, 1" in answer["text"]


@needs_node
@pytest.mark.filterwarnings("ignore:Input .a. has an eigenvalue pair")  # points of families
@pytest.mark.parametrize("bench", presets.BENCHES)
def test_the_python_that_is_copied_does_the_same(bench):
    states = [one["state"] for one in presets.presets() if one["bench"] == bench]
    asked = [{"bench": bench, "state": state} for state in states]
    for state, answer in zip(states, evaluate(python=asked)["python"], strict=True):
        space = {}
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(answer["text"], "copied", "exec"), space)
        assert said.getvalue()
        if bench == "sphere":
            end = space["path"].tokens[-1].numpy()
            assert end.shape == np.shape(state["x"])
            assert abs(end - np.reshape(answer["end"], end.shape)).max() < tolerance(state)
        elif bench == "line":
            end = space["path"].log_x[-1].numpy()
            finite = np.isfinite(end)
            found = np.array(answer["end"], dtype=float)[finite]
            # A millionth before a blow-up, a relative error of 1e-8 of its time is a hundredth.
            near = 1e-2 if space["prediction"].kind == "blow-up" else 1e-6
            assert abs(found - end[finite]).max() < near * max(1.0, abs(end[finite]).max())
        else:
            assert space["limits"] == pytest.approx(answer["end"], abs=1e-9)


def tolerance(state: dict) -> float:
    """Of the end of a run: some presets stay near saddles, or pass them, for long."""
    return 1e-6 if state["until"] < 500 else 1e-4


def evaluate(**asked):
    done = subprocess.run(
        [NODE, PROGRAM], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)
