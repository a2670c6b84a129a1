"""The benchmarks at tiny sizes: what their tables hold, and that they refuse different answers."""

import math
import subprocess
import sys
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from flint import arb, ctx

from benchmarks import (
    __main__,
    column_sums,
    field,
    hidden_attention,
    measure,
    peer,
    scan,
    selective_scan,
    simulate,
)
from tokensphere import records, s6, sinks

ROOT = Path(__file__).parents[1]
RATES = measure.rates
RATIOS = [f"ours / {what}, {unit}" for what in ("floor", "best peer") for unit in ("wall", "CPU")]
TIMES = ["wall s", "wall ± %", "CPU s", "CPU ± %"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Nothing is measured of the machine or in other processes, and simulations end early."""
    monkeypatch.setattr(measure, "rates", lambda *_: Counter(dict.fromkeys(WORK, 1e9)))
    for module in (column_sums, hidden_attention):
        monkeypatch.setattr(module, "peak_memory", lambda *_: 1.0)
    monkeypatch.setattr(simulate, "diffrax_installed", lambda: False)
    monkeypatch.setattr(simulate, "TIME", 0.5)
    for name, value in {"LARGE": 64, "CACHED": 32, "ORDER": 8, "ROUNDS": 2, "PATIENCE": 0}.items():
        monkeypatch.setattr(measure, name, value)


WORK = ("exponentials", "softplus", "multiply-adds", "bytes", "cached bytes", "new bytes")


SLOW = {
    hidden_attention: {"row by row", "cumulated sums"},
    column_sums: {"matrix", "gradient", "transformers' gradient"},
}


@pytest.mark.parametrize(
    ("benchmark", "size", "contenders", "more"),
    [
        (scan, (3, 2, 5), {"torch path", "transformers"}, []),
        (
            column_sums,
            (3, 2, 5),
            {"torch path", "matrix", "gradient", "transformers' gradient"},
            ["MB"],
        ),
        (hidden_attention, (3, 2, 8), {"row by row", "cumulated sums"}, ["error", "MB"]),
        (selective_scan, (3, 2, 5), {"transformers"}, []),
        (field, 20, {"torch path", "s6.scan", "transformers"}, []),
        (
            simulate,
            (12, 3, 3),
            {
                "ours, rtol 3e-08",
                "scipy DOP853",
                "torchdiffeq dopri5",
                "scipy, dense field",
                "scipy, one by one",
            },
            ["error"],
        ),
    ],
    ids=["scan", "column_sums", "hidden_attention", "selective_scan", "field", "simulate"],
)
def test_a_table_has_both_clocks_and_ratios_for_each_number_of_threads(
    benchmark, size, contenders, more, monkeypatch
):
    monkeypatch.setattr(field, "_lengths", lambda _: None)
    table, *_ = benchmark.run(sizes=(size,))
    assert list(table.rows[0]) == ["contender", "threads", *more, *TIMES, *RATIOS]
    for threads in measure.THREADS:
        rows = {row["contender"]: row for row in table.rows if row["threads"] == threads}
        # Slow ways run on one thread alone.
        slow = SLOW.get(benchmark, set()) if threads > 1 else set()
        assert rows.keys() == {"ours", "floor", *contenders} - slow
        for name, row in rows.items():
            assert row["wall s"] > 0
            assert row["CPU s"] > 0
            assert [row[ratio] is not None for ratio in RATIOS] == [name.startswith("ours")] * 4
            assert all((row[column] is None) == (name == "floor") for column in more)


def test_field_stops_the_dense_one_at_its_limit_and_has_slopes(monkeypatch):
    monkeypatch.setattr(field, "DENSE_LIMIT", 8 * 16 * 80**2)
    _, lengths = field.run(sizes=(20, 40, 80, 160))
    assert [row["tokens"] for row in lengths.rows] == [20, 40, 80, 160, "slope"]
    *rows, slopes = lengths.rows
    assert [row["dense CPU s"] is None for row in rows] == [False, False, False, True]
    assert all("±" in slopes[f"{name} CPU s"] for name in ("ours", "dense", *field.PEERS))


def test_a_slope_is_that_of_the_larger_half():
    quadratic_above = [(2**k, float(max(2**k, 8) ** 2)) for k in range(8)]
    assert field._slope(quadratic_above).startswith("2.00 ± 0.00")


def times(A, B):
    """A B^T, lists of rows."""
    return [[dot(a, b) for b in B] for a in A]


def dot(a, b):
    return sum((p * q for p, q in zip(a, b, strict=True)), arb(0))


def dense_field_in_balls(flow, x):
    """`field.by_attention` in ball arithmetic of 53 bits, written out entry by entry."""
    tokens, S_Delta = balls(x), balls(flow.S_Delta.mT)
    S_C, S_B = (balls(factor) for factor in flow.S_BC)
    scores = times(times(tokens, S_C), times(tokens, S_B))
    steps = [[(1 + z.exp()).log() for z in row] for row in times(tokens, S_Delta)]
    rates = [arb(float(a)) for a in flow.a]
    elapsed = [[arb(0)] * len(rates)]
    for row in steps:
        elapsed.append([e + a * s for e, a, s in zip(elapsed[-1], rates, row, strict=True)])
    field = []
    for l, token in enumerate(tokens):
        y = [
            dot(
                [scores[l][j] * steps[j][d] * tokens[j][d] for j in range(l + 1)],
                [(elapsed[j + 1][d] - elapsed[l + 1][d]).exp() for j in range(l + 1)],
            )
            for d in range(len(token))
        ]
        inner = dot(token, y)
        field.append([v - inner * z for v, z in zip(y, token, strict=True)])
    return field


def balls(rows):
    return [[arb(float(value)) for value in row] for row in rows]


@pytest.mark.parametrize("length", [20, 40, 80])
def test_rounding_cannot_separate_the_fields_by_more_than_1e_11(length):
    """Balls of 53 bits hold what any order of rounded sums, products and exponentials can give.

    So a difference of 1e-9 between the dense field and ours, which a run of these seeded problems
    once reported, was no rounding, nor of either formula: the numbers had changed on their way.
    """
    flow, x = field.problem(16, 4, length)
    with ctx.workprec(53):
        rows = dense_field_in_balls(flow, x)
    largest = max(abs(float(ball)) for row in rows for ball in row)
    assert max(float(ball.rad()) for row in rows for ball in row) < 0.5e-11 * largest
    for got in (field.by_attention(flow, x), flow(x)):
        for row, values in zip(rows, got.tolist(), strict=True):
            assert all(ball.contains(value) for ball, value in zip(row, values, strict=True))


def test_column_sums_stops_contenders_at_their_limits(monkeypatch):
    monkeypatch.setattr(column_sums, "MATRIX_LIMIT", 5 * 12**2)
    monkeypatch.setattr(column_sums, "GRAPH_LIMIT", 4 * 3 * 5 * 2 * 20)
    tables = column_sums.run(sizes=((5, 2, 12), (5, 2, 20), (5, 2, 30)))
    ran = [{row["contender"] for row in table.rows} - {"floor"} for table in tables]
    assert ran == [
        set(column_sums.CONTENDERS),
        set(column_sums.CONTENDERS) - {"matrix"},
        {"ours", "torch path"},
    ]


def test_blocks_of_channels_are_all_channels(monkeypatch):
    monkeypatch.setattr(column_sums, "BLOCK", 2 * 7**2)
    _, *inputs = scan.problem(5, 2, 7)
    torch.testing.assert_close(column_sums.by_matrix(*inputs), s6.column_sums(*inputs))


@pytest.mark.skipif(not measure.STATUS.is_file(), reason="no peak of a process here")
def test_peak_memory_sees_what_a_call_allocates():
    assert 190 < measure.peak_memory(_allocation, (1,), (200,)) < 260
    # In one process, the second smaller than what the first had.
    many, few = measure.peak_memories(_allocation, (1,), [(200,), (80,)])
    assert 190 < many < 260
    assert 70 < few < 140


def _allocation(megabytes):
    return lambda: torch.ones(megabytes, 1_000_000, dtype=torch.uint8)


def test_simulate_runs_slow_ones_once_where_sequences_are_many(monkeypatch):
    monkeypatch.setattr(simulate, "MANY", 12)
    (table,) = simulate.run(sizes=((12, 4, 3),))
    ran = Counter(row["contender"] for row in table.rows)
    assert ran["scipy, dense field"] == ran["torchdiffeq dopri5"] == 1
    assert ran["ours"] == ran["scipy DOP853"] == 2
    assert "scipy, one by one" not in ran
    errors = [row["error"] for row in table.rows if row["contender"] != "floor"]
    assert all(0 < error < simulate.AGREEMENT for error in errors)


@pytest.mark.parametrize("write", [simulate._dense, simulate._recurrence])
def test_the_bare_fields_of_simulate_are_the_library_s(write):
    flow, x0 = simulate.problem(4, 5, 3)
    derivative, order = write(flow, *x0.shape)
    flat = derivative(0.0, x0.permute(order).numpy().ravel())
    got = flat.reshape(x0.permute(order).shape).transpose(np.argsort(order))
    torch.testing.assert_close(torch.from_numpy(got), flow(x0), rtol=0, atol=1e-14)


@pytest.mark.skipif(not simulate.diffrax_installed(), reason="diffrax is not installed")
def test_diffrax_in_a_process_of_its_own_computes_the_same():
    size = (2, 4, 3)
    there = measure.Elsewhere(simulate.by_diffrax, *size)
    try:
        # It does not see this process's shorter TIME.
        end, seconds = there(), there.seconds(1)
    finally:
        there.close()
    assert min(seconds) > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "TIME", 5.0)
        want = simulate.by_scipy(*simulate.problem(*size), 1e-12, 1e-14)
    torch.testing.assert_close(end, want, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("benchmark", "size", "name"),
    [
        (field, 10, "transformers"),
        (scan, (3, 2, 5), "transformers"),
        (column_sums, (3, 2, 5), "matrix"),
        (hidden_attention, (3, 2, 8), "row by row"),
        (selective_scan, (3, 2, 5), "transformers"),
        (simulate, (2, 3, 3), "by_torchdiffeq"),
    ],
    ids=["field", "scan", "column_sums", "hidden_attention", "selective_scan", "simulate"],
)
def test_different_answers_are_no_race(benchmark, size, name, monkeypatch):
    def off(*arguments):
        got = right(*arguments)
        return tuple(1.01 * each for each in got) if isinstance(got, tuple) else 1.01 * got

    if benchmark is simulate:
        right = getattr(simulate, name)
        monkeypatch.setattr(simulate, name, off)
    elif benchmark is field:
        right, tolerance = field.PEERS[name]
        monkeypatch.setitem(field.PEERS, name, (off, tolerance))
    else:
        right = benchmark.CONTENDERS[name]
        monkeypatch.setitem(benchmark.CONTENDERS, name, off)
    with pytest.raises(AssertionError, match=r"off by"):
        benchmark.run(sizes=(size,))


DONE = Counter()


class Number:
    """A number that counts what is done with it in DONE."""

    def __init__(self, value):
        self.value = float(value)

    def __mul__(self, other):
        DONE["products"] += 1
        return Number(self.value * other.value)

    def __add__(self, other):
        DONE["sums"] += 1
        return Number(self.value + other.value)

    def __sub__(self, other):
        DONE["sums"] += 1
        return Number(self.value - other.value)

    def exp(self):
        DONE["exponentials"] += 1
        return Number(math.exp(self.value))

    def softplus(self):
        DONE["softplus"] += 1
        return Number(np.logaddexp(0.0, self.value))


def numbers(values):
    return np.vectorize(Number, otypes=[object])(values)


def plain(values):
    return torch.from_numpy(np.vectorize(lambda v: v.value, otypes=[float])(values))


@pytest.fixture
def done():
    DONE.clear()
    return DONE


def assert_counted(work, done):
    """Each sum has a product to go with, so that products count the multiply-adds."""
    assert done["sums"] <= done["products"]
    assert work["multiply-adds"] == done["products"]
    for name in ("exponentials", "softplus"):
        assert work.get(name, 0) == done[name]


def layer(*size):
    u, delta, A, B, C = (value.double() for value in scan.problem(*size))
    return (u, delta, A, B, C), [
        numbers(value.numpy()) for value in (u[0], delta[0], A, B[0], C[0])
    ]


def test_scan_s_floor_counts_its_recurrence(done):
    size = channels, states, length = 3, 2, 5
    tensors, (u, delta, A, B, C) = layer(*size)
    y = np.empty((channels, length), dtype=object)
    for d in range(channels):
        state = [None] * states
        for l in range(length):
            entering = delta[d, l] * u[d, l]
            for n in range(states):
                decay = (delta[d, l] * A[d, n]).exp()
                new = entering * B[n, l]
                state[n] = decay * (state[n] or Number(0)) + new
                read = state[n] * C[n, l]
                y[d, l] = y[d, l] + read if n else read
    torch.testing.assert_close(plain(y), s6.scan(*tensors)[0])
    assert_counted(scan.work(*size), done)
    assert scan.work(*size)["bytes"] == 4 * sum(v.size for v in (u, delta, B, C, y))


def test_column_sums_floor_counts_its_recurrence(done):
    size = channels, states, length = 3, 2, 5
    (_, *tensors), (_, delta, A, B, C) = layer(*size)
    sums = np.empty((channels, length), dtype=object)
    for d in range(channels):
        adjoint = [Number(0)] * states
        for l in reversed(range(length)):
            for n in range(states):
                decayed = adjoint[n] + C[n, l]
                read = decayed * B[n, l]
                sums[d, l] = sums[d, l] + read if n else read
                adjoint[n] = (delta[d, l] * A[d, n]).exp() * decayed
            sums[d, l] = delta[d, l] * sums[d, l]
    torch.testing.assert_close(plain(sums), s6.column_sums(*tensors)[0])
    assert_counted(column_sums.work(*size), done)
    assert column_sums.work(*size)["bytes"] == 4 * sum(v.size for v in (delta, B, C, sums))


def test_hidden_attention_s_floor_counts_divide_and_conquer(done):
    size = channels, states, length = 2, 3, 8
    (_, *tensors), (_, delta, A, B, C) = layer(*size)
    M = numbers(np.zeros((channels, length, length)))

    def conquer(d, keys, first, last):
        if last - first == 1:
            products = [C[n, first] * keys[n, first] for n in range(states)]
            M[d, first, first] = sum(products[1:], products[0])
            return
        middle = (first + last) // 2
        conquer(d, keys, first, middle)
        conquer(d, keys, middle, last)
        # Sums of steps away from the middle: one for all states, which is no product's.
        after = np.cumsum([v.value for v in delta[d, middle:last]])
        before = np.cumsum([0.0, *(v.value for v in delta[d, first + 1 : middle][::-1])])
        between = before[::-1]
        for n in range(states):
            queries = [C[n, middle + i] * (A[d, n] * Number(t)).exp() for i, t in enumerate(after)]
            left = [keys[n, first + j] * (A[d, n] * Number(t)).exp() for j, t in enumerate(between)]
            for i, j in product(range(len(queries)), range(len(left))):
                entry = M[d, middle + i, first + j]
                M[d, middle + i, first + j] = entry + queries[i] * left[j]

    for d in range(channels):
        conquer(d, delta[d] * B, 0, length)
    torch.testing.assert_close(plain(M), s6.hidden_attention(*tensors)[0])
    assert_counted(hidden_attention.work(*size), done)
    assert hidden_attention.work(*size)["new bytes"] == 4 * M.size


@pytest.mark.parametrize("factors", [True, False], ids=["factors", "one matrix"])
def test_the_field_s_floor_counts_its_recurrence(done, factors):
    dim, states, length = 3, 2, 4
    flow, x = field.problem(dim, states, length)
    if not factors:
        flow = type(flow)(flow.S_Delta + 1, flow.S_Delta, flow.a)
    S_C, S_B = (v.numpy() for v in flow.S_BC) if factors else (None, flow.S_BC.numpy())
    S_Delta, rates = numbers(flow.S_Delta.numpy()), numbers(-flow.a.numpy())
    S_B, S_C = numbers(S_B), S_C if S_C is None else numbers(S_C)
    tokens = numbers(2 * x.numpy())
    out = np.empty((length, dim), dtype=object)
    state = numbers(np.zeros((len(S_B), dim)))
    for l, row in enumerate(tokens):
        scale = Number((row @ row).value ** -0.5)
        row = row * scale
        keys, steps = S_B @ row, np.array([v.softplus() for v in row @ S_Delta])
        queries = row if S_C is None else S_C @ row
        decays = np.array([v.exp() for v in rates * steps])
        new = keys[:, None] * (steps * row)
        state = state * decays + new
        y = queries @ state
        along = row @ y
        out[l] = y - row * along
    torch.testing.assert_close(plain(out), flow(x))
    work = field.work(length, dim, states if factors else None)
    assert_counted(work, done)
    assert work["bytes"] == 8 * (tokens.size + out.size)


def test_simulate_s_floor_adds_the_stages_of_the_method():
    # A stage's sum has as many terms as its row of Hairer's tableau: 0, 1, 2, 2, ...
    terms = [0, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9]
    size = sequences, length, dim = 2, 4, 3
    one = field.work(sequences * length, dim, None)
    step = simulate.work(size, 12)
    assert "bytes" not in step
    assert step["exponentials"] == 12 * one["exponentials"]
    added = step["multiply-adds"] - 12 * one["multiply-adds"]
    assert added == pytest.approx(sum(terms) * sequences * length * dim)


def test_the_kernels_compute_what_they_count():
    kernels = pytest.importorskip("benchmarks.kernels", exc_type=ImportError)
    for dtype in (np.float32, np.float64):
        found = kernels.kernels(dtype)
        start = np.linspace(-2.0, 1.9, 1001, dtype=dtype)
        wide = start.astype(float)
        want = {"exponentials": np.exp2(wide) - 2, "softplus": np.logaddexp(0, wide) - 1}
        want["multiply-adds"] = 1 + (wide - 1) / 2**kernels.CHAIN
        assert found.keys() == want.keys()
        for name, kernel in found.items():
            values = start.copy()
            kernel(values, 1)
            # Roundings of numbers up to 4.
            np.testing.assert_allclose(values, want[name], rtol=0, atol=8 * np.finfo(dtype).eps)
            kernel(values, 1000)
            assert np.abs(values).max() <= 2


@pytest.mark.parametrize("threads", measure.THREADS)
def test_rates_are_of_all_that_floors_need(threads, monkeypatch):
    before = torch.get_num_threads()
    found = RATES.__wrapped__(torch.float64, threads)
    assert found.keys() == set(WORK)
    assert min(found.values()) > 0
    assert torch.get_num_threads() == before
    monkeypatch.setattr(measure, "inlined", lambda: False)
    assert RATES.__wrapped__(torch.float32, threads).keys() == set(WORK)
    assert "by calls of torch" in measure.describe({"bytes": 1}, torch.float32, (1,))


def test_arithmetic_adds_up_and_bytes_move_meanwhile(monkeypatch):
    speed = {"exponentials": 2.0, "multiply-adds": 4.0, "bytes": 1.0, "new bytes": 1.0}
    monkeypatch.setattr(measure, "rates", lambda *_: speed)
    arithmetic = {"exponentials": 2, "multiply-adds": 4}
    find = partial(measure.floor, dtype=torch.float32, threads=2)
    assert find(arithmetic | {"bytes": 1}) == {"wall": 2.0, "cpu": 4.0}
    assert find(arithmetic | {"bytes": 2, "new bytes": 3}) == {"wall": 5.0, "cpu": 10.0}


def test_a_race_alternates_and_stops_at_the_budget(monkeypatch):
    ran = []

    def clock(call):
        call()
        return 1.0, 0.5

    monkeypatch.setattr(measure, "clock", clock)
    contenders = {
        name: lambda name=name: ran.append((name, torch.get_num_threads())) for name in "abc"
    }
    before = torch.get_num_threads()
    found = measure.race(contenders, threads=(1, 2), repeats=3, budget=2.0, once=("c",))
    turn = [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2)]
    assert ran == [*turn, *(each for each in turn if each[0] != "c")]
    assert {key: len(seconds.wall) for key, seconds in found.items()} == {
        key: 1 if key[0] == "c" else 2 for key in turn
    }
    assert torch.get_num_threads() == before


def test_ratios_are_to_the_floor_and_to_the_fastest_peer_on_as_many_threads_or_fewer(monkeypatch):
    times = {
        ("ours", 1): measure.Seconds((4.0, 6.0, 5.0), (4.0, 4.0, 4.0)),
        ("ours", 2): measure.Seconds((2.0,), (6.0,)),
        ("own", 1): measure.Seconds((0.1,), (0.1,)),
        ("own", 2): measure.Seconds((0.1,), (0.1,)),
        ("one", 1): measure.Seconds((2.0,), (3.0,)),
        ("one", 2): measure.Seconds((5.0,), (9.0,)),
        ("other", 1): measure.Seconds((8.0,), (8.0,)),
    }
    monkeypatch.setattr(measure, "race", lambda *_, **__: times)
    monkeypatch.setattr(measure, "rates", lambda _, threads: {"exponentials": threads})
    calls = dict.fromkeys(("ours", "own", "one", "other"), lambda: None)
    table = measure.compare("t", calls, {"exponentials": 2}, torch.float32, own=("own",))
    ours = [row for row in table.rows if row["contender"] == "ours"]
    assert [[row[ratio] for ratio in RATIOS] for row in ours] == [[2, 2, 2, 4 / 3], [2, 3, 1, 2]]
    assert [row["wall ± %"] for row in ours] == [25, None]
    assert [row["CPU s"] for row in table.rows if row["contender"] == "floor"] == [2, 2]
    assert table.notes[0] == "best peer: one."


def test_another_process_keeps_its_own_time():
    there = measure.Elsewhere(_prepared, 20)
    try:
        assert there() == (1, 20)
        assert min(there.seconds(2)) > 0
    finally:
        there.close()


def _prepared(threads, argument):
    return lambda: (threads, argument)


def test_a_table_is_markdown():
    table = measure.Table("t", [{"n": 4096, "s": 0.01234}, {"n": 1, "s": None}], ["a note"])
    assert str(table).splitlines() == [
        "### t",
        "",
        "|     n |      s |",
        "|------:|-------:|",
        "| 4,096 | 0.0123 |",
        "|     1 |      - |",
        "",
        "- a note",
    ]


def test_the_command_prints_and_saves(tmp_path, monkeypatch, capsys):
    class Tiny:
        SIZES = (1,)

        @staticmethod
        def run():
            return [measure.Table("tiny", [{"n": 1}])]

    monkeypatch.setitem(__main__.CODE, "tiny", ("rates",))
    monkeypatch.setitem(sys.modules, "benchmarks.tiny", Tiny)
    out = tmp_path / "benchmarks.json"
    assert __main__.main(["tiny", "--out", str(out)]) == 0
    assert "### tiny" in capsys.readouterr().out
    record = records.load(out)
    assert record.data == {"tiny": [{"title": "tiny", "rows": [{"n": 1}], "notes": []}]}
    assert record.parameters["sizes"] == {"tiny": [1]}
    assert set(record.code) == {"tokensphere.rates"}
    assert __main__.main(["tiny", "--out", str(tmp_path)]) == 2


def stand_in(kind, length, factor=1.0):
    """What the peer's matrices are, made of ours: it need not be installed."""
    layers = sinks.capture(*peer.problem(kind, length))
    return lambda: [factor * s6.hidden_attention(*layer.tensors) for layer in layers]


@pytest.fixture
def without_peer(monkeypatch):
    monkeypatch.setattr(peer, "peak_memories", lambda _, small, sizes: [1.0] * len(sizes))
    matrices, scores = (peer.TASKS[task] for task in peer.TASKS)
    monkeypatch.setitem(matrices, "peer", lambda *size: lambda: stand_in(*size)()[0])
    monkeypatch.setitem(
        scores,
        "peer",
        lambda *size: lambda: torch.stack([M[..., 0].mean(-1) for M in stand_in(*size)()]),
    )


def test_the_peer_is_left_out_where_its_matrices_take_too_much(without_peer, monkeypatch):
    monkeypatch.setattr(peer, "LIMIT", 16 * 8 * 8 * 5**2)
    tables = peer.run(sizes=(3, 5, 6))
    assert len(tables) == len(peer.TASKS) * len(peer.KINDS)
    for table in tables:
        assert [row["tokens"] for row in table.rows] == [3, 5, 6]
        many = "Mamba-1" in table.title
        for name in ("peer CPU s", "peer MB", "peer / ours, CPU"):
            assert [row[name] is None for row in table.rows] == [False, False, many]
        assert all(row["ours CPU s"] > 0 for row in table.rows)
        assert ("forward CPU s" in table.rows[0]) == ("score" in table.title)


def test_a_peer_with_other_matrices_is_no_race(without_peer, monkeypatch):
    matrices = peer.TASKS["the matrices of one layer"]
    monkeypatch.setitem(matrices, "peer", lambda *size: lambda: stand_in(*size, 1.001)()[0])
    with pytest.raises(AssertionError, match="peer computes something else: off by"):
        peer.run(sizes=(3,))


def test_the_peer_itself_computes_the_same(monkeypatch):
    pytest.importorskip("transformer_lens", reason="the peer: pip install -e '.[peer]'")
    monkeypatch.setattr(peer, "peak_memories", lambda _, small, sizes: [1.0] * len(sizes))
    assert all(table.rows[0]["peer CPU s"] > 0 for table in peer.run(sizes=(9,)))


def test_a_benchmark_whose_peer_is_absent_says_so(monkeypatch, capsys):
    monkeypatch.setattr(__main__.importlib.util, "find_spec", lambda _: None)
    assert __main__.main(["peer"]) == 2
    assert capsys.readouterr().err == (
        "benchmarks: peer: needs transformer-lens: pip install -e '.[peer]'\n"
    )
    assert not set(__main__.NAMES) & {"peer", *__main__.GPU_NAMES}


def test_an_unknown_name_is_one_line_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "fild"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "benchmarks: 'fild': no such benchmark; "
        "takes simulate, field, scan, column_sums, hidden_attention, selective_scan, "
        "attention_flow, column_sums_gpu, permute_gpu, peer, rerun\n"
    )
