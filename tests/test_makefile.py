"""What the make targets say before they run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not shutil.which("nproc"), reason="no nproc: two processes are used")
def test_tests_run_on_all_cores_though_each_process_has_one_thread():
    said = subprocess.run(["make", "-n", "test"], cwd=ROOT, text=True, capture_output=True).stdout
    counts = re.findall(r"pytest -n \$\((.*?)\) --dist", said)
    assert len(counts) == 2  # the tests, the chapters
    for count in counts:
        shell = ["sh", "-c", count]
        found = subprocess.run(
            shell, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True, capture_output=True
        )
        assert int(found.stdout) == len(os.sched_getaffinity(0))
