"""The recipe of a GPU runner: its workflow, its image and its environment name what exists."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tokensphere.paper.renewal import gpu

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".ci" / "gpu-environment"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VARIABLES = set(re.findall(r"\$\(([A-Z]+)\)", (ROOT / "Makefile").read_text()))


def workflow(name):
    # To YAML 1.1 the key `on` is True.
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


def made(command):
    """The targets that a shell command has `make` make."""
    lines = [part.split() for part in re.split(r"&&|;|\n", command)]
    return [word for line in lines if line[:1] == ["make"] for word in line[1:] if "=" not in word]


@pytest.mark.parametrize("name", ["ci.yml", "gpu.yml", "links.yml", "release.yml"])
def test_workflows_make_targets_that_exist(name):
    steps = [step for job in workflow(name)["jobs"].values() for step in job["steps"]]
    targets = [target for step in steps for target in made(step.get("run", ""))]
    assert targets
    assert set(targets) <= TARGETS


def test_the_gpu_workflow_uploads_what_make_gpu_leaves():
    job = workflow("gpu.yml")["jobs"]["run"]
    assert job["runs-on"] == ["self-hosted", "linux", "gpu"]
    uses = [step for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    out = gpu.parser().parse_args([]).out
    assert {step["with"]["name"]: step["with"]["path"] for step in uses} == {
        "notebooks": out,
        "records": "results",
    }
    assert all(step["if"] == "always()" for step in uses)
    assert set(job["env"]) <= VARIABLES


def test_the_runner_s_job_can_only_read_and_no_pull_request_starts_it():
    content = workflow("gpu.yml")
    assert content["permissions"] == {}
    assert content["jobs"]["run"]["permissions"] == {"contents": "read"}
    assert content[True].keys() == {"workflow_dispatch", "schedule"}
    (checkout,) = [s for s in content["jobs"]["run"]["steps"] if "checkout" in s.get("uses", "")]
    assert checkout["with"]["persist-credentials"] is False
    # Texts of others never stand in a shell's program.
    runs = [
        step["run"] for job in content["jobs"].values() for step in job["steps"] if "run" in step
    ]
    assert not any("${{" in run for run in runs)


def instructions():
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]


def test_the_image_copies_files_that_exist_and_are_let_through():
    admitted = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = [name for word, rest in instructions() if word == "COPY" for name in rest.split()[:-1]]
    assert set(copied) == admitted
    assert all((ROOT / name).is_file() for name in copied)


def test_the_image_makes_a_target_that_exists():
    (command,) = [rest for word, rest in instructions() if word == "CMD"]
    assert made(" ".join(yaml.safe_load(command))) == ["gpu"]
    assert "gpu" in TARGETS


def test_every_python_is_one_that_the_package_takes():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    least = tuple(map(int, wanted.removeprefix(">=").split(".")))
    asked = re.search(r"v < \((\d+), (\d+)\)", ENVIRONMENT.read_text()).groups()
    assert tuple(map(int, asked)) == least
    # The image's Python is Ubuntu's: 3.12 in 24.04.
    (base,) = [rest for word, rest in instructions() if word == "FROM"]
    assert base.endswith("-devel-ubuntu24.04")
    assert least <= (3, 12)


def test_requirements_are_pinned_and_name_no_index():
    for file in ("requirements.txt", "requirements-gpu.txt"):
        for line in (ROOT / file).read_text().splitlines():
            said = line.partition("#")[0].strip()
            assert not said or said == "-e ." or re.fullmatch(r"[\w.-]+==[\w.]+", said), line
    for line in ENVIRONMENT.read_text().splitlines():
        if "pip install" in line and not line.startswith("#"):
            names = re.sub(r".*pip install|--no-\S+|-r \S+", "", line).split()
            assert all(re.fullmatch(r"[\w.-]+==[\w.]+", name) for name in names), line


PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$LOG"
if [[ "$*" == *"-r /"* ]]; then cat "${@: -1}" > "$LOG.requirements"; fi
"""
"""In place of Python: it writes down what it is called with."""


def test_the_environment_goes_in_in_its_order(tmp_path):
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    log = tmp_path / "log"
    # From another folder, with a relative path: a runner has its own working directory.
    subprocess.run(
        [ENVIRONMENT, "./python"], cwd=tmp_path, env=os.environ | {"LOG": str(log)}, check=True
    )
    calls = [line for line in log.read_text().splitlines() if line.startswith("-m pip install")]
    kinds = ["-r /", "wheel==", "--no-build-isolation -r requirements-gpu.txt", "mambavision=="]
    assert len(calls) == len(kinds)
    assert all(kind in call for kind, call in zip(kinds, calls, strict=True))
    # All of the reader's but this package, which is not there where an image is built.
    reader = (ROOT / "requirements.txt").read_text().replace("-e .\n", "")
    assert Path(f"{log}.requirements").read_text() == reader


def test_without_a_python_the_environment_says_what_it_takes():
    done = subprocess.run([ENVIRONMENT], capture_output=True, text=True)
    assert done.returncode != 0
    assert "PYTHON of the environment" in done.stderr
