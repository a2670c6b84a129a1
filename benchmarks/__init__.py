"""Speed against peers, and against what the machine allows: `python -m benchmarks`.

One module a benchmark, each with `run(sizes)` that returns tables. A benchmark first asserts that
its contenders compute the same numbers: a race between different answers says nothing.
"""
