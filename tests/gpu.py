"""Runs the GPU's tests and keeps what they gave, on a GPU machine: python tests/gpu.py [SUITE...]

The record of a suite, results/SUITE.json, holds each test's outcome with the digests of the code
that it ran. Exit code as pytest's; nothing is kept where no test ran. `make gpu` runs all of them.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tokensphere import records

SUITES = {
    "gpu_tests": (
        "test_gpu.py",
        ["first_token", "flow", "other_tokens", "s6", "sinks", "paper.survey"],
    ),
    "gpu_reorder_tests": ("test_gpu_reorder.py", ["reorder.mechanism", "reorder.training"]),
    "gpu_refine_tests": ("test_gpu_refine.py", ["refine"]),
    "gpu_families_tests": ("test_gpu_families.py", ["sinks.capture", "sinks.mixers.checkpoints"]),
}
"""By name: its tests, and the modules that they try."""


class Outcomes:
    """Collects the outcome of each test's call."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.found[report.nodeid.split("::", 1)[1]] = report.outcome


def run(suite: str, folder: Path) -> int:
    outcomes = Outcomes()
    began = time.perf_counter()
    file, names = SUITES[suite]
    tests = Path(__file__).with_name(file)
    code = pytest.main(["-q", "-p", "no:cacheprovider", str(tests)], plugins=[outcomes])
    if outcomes.found:
        records.save(
            folder / f"{suite}.json",
            outcomes.found,
            parameters={},
            code=[f"tokensphere.{name}" for name in names],
            seconds=time.perf_counter() - began,
            device="cuda:0",
        )
    return int(code)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="instead of results/")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.suites) - SUITES.keys():
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if not torch.cuda.is_available():
        print("no CUDA device: these tests need one", file=sys.stderr)
        return 2
    folder = arguments.out or records.path("gpu_tests.json").parent
    return max(run(suite, folder) for suite in arguments.suites or SUITES)


if __name__ == "__main__":
    sys.exit(main())
