"""Runs the GPU's tests and keeps what they gave, on a GPU machine: python tests/gpu.py [PATH]

The record, results/gpu_tests.json unless another path is named, holds each test's outcome with the
digests of the code that it ran. Exit code as pytest's; nothing is kept where no test ran.
"""

import sys
import time
from pathlib import Path

import pytest
import torch

from tokensphere import records

NAMES = ("first_token", "flow", "other_tokens", "s6", "s6_triton", "sinks", "survey")
CODE = [f"tokensphere.{name}" for name in NAMES]


class Outcomes:
    """Collects the outcome of each test's call."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.found[report.nodeid.split("::", 1)[1]] = report.outcome


def main(path: Path) -> int:
    if not torch.cuda.is_available():
        print("no CUDA device: these tests need one", file=sys.stderr)
        return 2
    outcomes = Outcomes()
    began = time.perf_counter()
    tests = Path(__file__).with_name("test_gpu.py")
    code = pytest.main(["-q", "-p", "no:cacheprovider", str(tests)], plugins=[outcomes])
    if outcomes.found:
        seconds = time.perf_counter() - began
        records.save(
            path, outcomes.found, parameters={}, code=CODE, seconds=seconds, device="cuda:0"
        )
    return int(code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else records.path("gpu_tests.json")))
