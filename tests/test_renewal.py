"""Records that match the code and those that do not, and renewing them beside the old ones."""

import dataclasses
import json
import os
import re
import signal
import threading
import time

import pytest
from filelock import FileLock

from tokensphere import cli, records
from tokensphere.paper.renewal import Refused, run, state, table
from tokensphere.paper.signals import Ended

TABLE = """
[data]
text = ["text.txt.xz", "text.txt"]

[record.first]
script = "make.py"
arguments = ["{folder}", "{record}"]
beside = ["model/weights"]

[record."part/second"]
module = "tokensphere.maker"
arguments = ["--text", "{text}", "--record", "{record}"]
reads = ["first"]
asked = { size = 3 }

[record.third]
script = "make.py"
gpus = 2
packages = ["no_such_package"]
"""

MAKE = """
import pathlib, sys
folder, record = map(pathlib.Path, sys.argv[1:])
exec(pathlib.Path("how.py").read_text())
"""
"""A command in a checkout: what it does stands in how.py there."""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a package of two modules, the table above and a first record."""
    package = tmp_path / "src" / "tokensphere"
    package.mkdir(parents=True)
    (tmp_path / "results" / "model").mkdir(parents=True)
    (package / "maker.py").write_text("from . import base\n")
    (package / "base.py").write_text("one = 1\n")
    for file in package.iterdir():
        os.utime(file, (time.time() - 3600,) * 2)
    (tmp_path / "renewals.toml").write_text(TABLE)
    (tmp_path / "make.py").write_text(MAKE)
    monkeypatch.setattr(records, "ROOT", package)
    monkeypatch.setattr(table, "FILE", tmp_path / "renewals.toml")
    save(records.path("first.json"), 1)
    records.path("model/weights").write_text("old")
    return tmp_path


def save(file, data, parameters=None):
    return records.save(
        file, data, parameters=parameters or {}, code=["tokensphere.maker"], seconds=60
    )


def one(name):
    return {found.name: found for found in state.states()}[name]


def test_a_record_that_matches_is_fresh_and_one_that_is_not_there_is_missing(checkout):
    assert one("first").state == "fresh"
    assert one("third").state == "missing"
    assert list(state.plain(one("first"))["needs"].values()) == [0, [], []]


def test_a_changed_module_is_named(checkout):
    (records.ROOT / "base.py").write_text("one = 2\n")
    assert one("first").state == "stale"
    assert one("first").reasons == ("the code of tokensphere.base changed",)


def test_a_parameter_that_the_book_asks_for_otherwise_is_named(checkout):
    save(records.path("part/second.json"), 2, {"size": 4})
    found = one("part/second")
    assert found.state == "stale"
    assert "parameter 'size' is 4 in the record, 3 was asked for" in found.reasons


def rewrite(name, **changes):
    """A record as another machine, or another day, would have made it."""
    file = records.path(name)
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(content | {"digest": records.content_digest(content)}))


def test_other_versions_are_told_and_make_no_record_stale(checkout):
    versions = records.read(records.path("first.json")).versions
    rewrite("first.json", versions=versions | {"torch": "1.0"})
    assert one("first").state == "fresh"
    assert one("first").versions["torch"][0] == "1.0"


@pytest.mark.parametrize(("needs", "expected"), [(">=2", "fresh"), ("==1.0", "stale")])
def test_a_record_may_name_the_versions_that_it_holds_for(checkout, needs, expected):
    save(records.path("first.json"), 1, {"requires": {"torch": needs}})
    assert one("first").state == expected
    assert ("it holds for torch ==1.0" in str(one("first").reasons)) == (expected == "stale")


def test_a_record_is_stale_once_what_it_reads_is_newer(checkout):
    save(records.path("part/second.json"), 2, {"size": 3})
    assert one("part/second").state == "fresh"
    rewrite("first.json", date="2999-01-01T00:00:00+00:00")
    assert one("part/second").reasons == ("first, which it reads, is newer",)


@pytest.mark.parametrize("text", ["", '{"data": 1', "[]", "{}", "\x00"])
def test_a_damaged_file_is_said_and_hides_no_other(checkout, text):
    records.path("first.json").write_text(text)
    found = {found.name: found for found in state.states()}
    assert found["first"].state == "damaged"
    assert "not a" in found["first"].reasons[0]
    assert len(found) == 3


def test_a_record_that_no_command_renews_is_listed_and_drafts_are_not(checkout):
    save(records.path("part/lone.json"), 1)
    for name in (".renewing/first/first.json", "survey.partial.json", ".first.json.7.tmp"):
        save(records.path(name), 1)
    assert [found.name for found in state.states()] == [
        "first",
        "part/second",
        "third",
        "part/lone",
    ]
    assert one("part/lone").renewal is None
    assert state.plain(one("part/lone"))["command"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[record.a]\nscript = "a"\ngpu = 1', "unknown key gpu"),
        ("[record.a]\ngpus = 1", "one of module, script and chapter"),
        ('[record.a]\nscript = "a"\nmodule = "b"', "one of module, script and chapter"),
        ('[record.a]\nscript = "a"\narguments = ["{none}"]', "needs none"),
        ('[record.a]\nscript = "a"\nreads = ["b"]\n[record.b]\nscript = "b"', "reads b"),
    ],
)
def test_a_table_that_says_nothing_one_could_run_is_refused(checkout, text, words):
    table.FILE.write_text(f"[data]\n{text}")
    with pytest.raises(ValueError, match=f"renewals.toml: a.*{words}"):
        table.renewals()


# Renewing.


def renew(how, checkout):
    """Renew the first record by a program that has `folder` and `record`."""
    (checkout / "how.py").write_text(how)
    return run.renew([table.renewals()["first"]], checkout / "data")


@pytest.fixture
def new(checkout):
    """A program that makes what it should, of the record `ready`."""
    save(checkout / "ready", 2)
    return (
        "(folder / 'model').mkdir(exist_ok=True)\n"
        "(folder / 'model' / 'weights').write_text('new')\n"
        "record.write_bytes(pathlib.Path('ready').read_bytes())\n"
    )


def kept():
    return records.read(records.path("first.json")).data, records.path("model/weights").read_text()


def test_a_renewed_record_comes_with_its_files_and_leaves_no_draft(checkout, new, capfd):
    look = "assert '\"data\": 1' in pathlib.Path('results/first.json').read_text()\n"
    assert renew(f"{new}{look}print('at work')", checkout) == []
    assert kept() == (2, "new")
    assert not records.path(".renewing/first").exists()
    shown = capfd.readouterr().out
    assert shown.index("first: python make.py") < shown.index("at work") < shown.index("renewed in")


def test_a_renewed_record_knows_the_files_that_came_with_it(checkout, new):
    assert renew(new, checkout) == []
    assert one("first").state == "fresh"
    weights = records.path("model/weights")
    weights.write_text("newer")
    found = one("first")
    assert found.state == "damaged"
    assert "model/weights is not the file that was made with it" in found.reasons[0]
    weights.unlink()
    assert "it was made with model/weights, and there is no " in one("first").reasons[0]


def test_a_renewal_killed_between_its_files_is_said_and_goes_on(checkout, new, monkeypatch):
    assert renew(new, checkout) == []
    newer = new.replace("'new'", "'newer'")
    replace = os.replace

    def killed(source, target):
        if target == records.path("first.json"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(run.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        renew(newer, checkout)
    monkeypatch.undo()
    monkeypatch.setattr(records, "ROOT", checkout / "src" / "tokensphere")
    monkeypatch.setattr(table, "FILE", checkout / "renewals.toml")
    assert "model/weights is not the file" in one("first").reasons[0]
    assert renew(newer, checkout) == []
    assert kept() == (2, "newer")
    assert not records.path(".renewing/first").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("record.unlink()", "left no first.json"),
        ("(folder / 'model' / 'weights').unlink()", "left no model/weights"),
        ("record.write_text('half')", "is not kept: .*not a whole record"),
        ("pathlib.Path('src/tokensphere/base.py').write_text('one = 3')", "kept: .*base changed"),
    ],
)
def test_the_old_record_stays_where_the_new_one_is_not_whole(checkout, new, more, words):
    (failure,) = renew(new + more, checkout)
    assert re.match(f"first: .*{words}", failure)
    assert kept() == (1, "old")


def test_one_failure_costs_the_others_nothing(checkout, new):
    table.FILE.write_text(f'{TABLE}[record.last]\nscript = "make.py"\narguments = ["a", "b"]\n')
    (checkout / "how.py").write_text(f"str(folder) == 'a' and sys.exit(1)\n{new}")
    known = table.renewals()
    failures = run.renew([known["last"], known["first"]], checkout)
    assert failures == ["last: its command ended with exit code 1"]
    assert kept() == (2, "new")


def test_a_record_is_renewed_by_one_process_at_a_time(checkout, new):
    lock = records.path(".renewing/.first.lock")
    lock.parent.mkdir()
    with FileLock(lock):
        assert renew(new, checkout) == ["first: another process renews it"]
    assert kept() == (1, "old")
    assert renew(new, checkout) == []


def test_a_stopped_run_goes_on_only_with_the_code_that_began_it(checkout):
    second = table.renewals()["part/second"]
    folder = records.path(".renewing/part/second")

    def is_kept(renewal):
        run._prepare(renewal, folder)
        left = (folder / "half").exists()
        (folder / "half").write_text("")
        return left

    assert [is_kept(second), is_kept(second)] == [False, True]
    (records.ROOT / "base.py").write_text("one = 2\n")
    assert [is_kept(second), is_kept(second)] == [False, True]
    other = dataclasses.replace(second, asked={"size": 4})
    assert [is_kept(other), is_kept(other)] == [False, True]
    # Of a script it is not known what it runs.
    assert not is_kept(table.renewals()["first"])
    assert not is_kept(table.renewals()["first"])


def test_what_ends_a_renewal_ends_its_command_and_waits_for_it(checkout, new):
    how = (
        "import signal, time\n"
        "def end(*_):\n    pathlib.Path('ended').touch()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path('started').touch()\ntime.sleep(600)\n"
    )

    over = threading.Event()

    def end():
        while not over.wait(0.05):
            if (checkout / "started").exists():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=end)
    thread.start()
    former = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Ended) as ended:
            renew(how, checkout)
    finally:
        over.set()
        thread.join()
    assert ended.value.number == signal.SIGTERM
    assert (checkout / "ended").exists()
    assert signal.getsignal(signal.SIGTERM) == former
    assert kept() == (1, "old")
    assert renew(new, checkout) == []  # the lock is free


CHAPTER = """
[data]
[record.first]
chapter = "part/page"
[record.third]
chapter = "part/page"
"""


def test_a_chapter_writes_its_records_itself_and_runs_once(checkout, monkeypatch):
    table.FILE.write_text(CHAPTER)
    calls = []

    def chapter(arguments):
        calls.append(list(arguments))
        save(records.path("first.json"), 2)
        if len(calls) == 2:
            save(records.path("third.json"), 3)
        return 0

    monkeypatch.setattr(run, "call", chapter)
    both = list(table.renewals().values())
    (failure,) = run.renew(both, checkout)
    assert failure.startswith("third: ")
    assert run.renew(both, checkout) == []
    assert len(calls) == 2
    assert calls[1][2:7] == ["run", "part/page", "-p", "scale", "full"]
    rewrite("first.json", date="2020-01-01T00:00:00+00:00")
    monkeypatch.setattr(run, "call", lambda arguments: 0)
    failure, *_ = run.renew(both, checkout)
    assert failure == "first: part/page did not write it"


# What is refused, and the command.


def test_what_is_not_here_is_refused_by_name(checkout):
    known, data = table.renewals(), checkout / "data"
    assert run.refusal(known["third"], data, 1) == "needs 2 CUDA devices, here is 1"
    assert run.refusal(known["third"], data, 0) == "needs 2 CUDA devices, here is none"
    assert "no_such_package" in run.refusal(known["third"], data, 2)
    assert run.refusal(known["third"], data, 2, installed=bool) is None
    assert "needs the data 'text'" in run.refusal(known["part/second"], data, 0)
    data.mkdir()
    (data / "text.txt").touch()
    assert run.refusal(known["part/second"], data, 0) is None
    assert run.refusal(known["first"], data, 0) is None


def test_what_counts_gpus_itself_takes_nobody_else_s(checkout, monkeypatch):
    counts = table.Renewal("a", module="m", counts_gpus=True)
    for visible in ("", "0", "0,1", "0, 1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert run.refusal(counts, checkout, 2) is None
    for visible in ("1", "2,3", "1,0", "GPU-5,GPU-7"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        said = f"takes GPUs from 0 on, and CUDA_VISIBLE_DEVICES is {visible}"
        assert run.refusal(counts, checkout, 2) == said
        assert run.refusal(table.Renewal("a", module="m"), checkout, 2) is None


def test_nothing_runs_where_one_of_them_is_refused(checkout, new, capsys, monkeypatch):
    monkeypatch.setattr(run, "gpus", lambda: 0)
    (checkout / "how.py").write_text(new)
    assert cli.main(["records", "--renew", "first", "third"]) == 2
    assert capsys.readouterr().err == "tokensphere: third: needs 2 CUDA devices, here is none\n"
    assert kept() == (1, "old")


def test_an_unknown_name_is_refused_with_those_close_to_it(checkout):
    with pytest.raises(Refused, match=r"'frist'.*; did you mean first\?"):
        run.chosen(["frist"])
    with pytest.raises(Refused, match="takes first, part/second, third"):
        run.chosen(["zzz"])
    assert [renewal.name for renewal in run.chosen(["third", "first", "third"])] == [
        "first",
        "third",
    ]


def test_the_command_lists_states_and_renews(checkout, new, capfd):
    (records.ROOT / "base.py").write_text("one = 2\n")
    assert cli.main(["records"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:2] == ["first: stale", "  the code of tokensphere.base changed"]
    assert "python make.py results results/first.json" in lines[3]
    assert lines[-1] == "3 records: 1 stale, 2 missing"
    assert cli.main(["records", "--json"]) == 0
    (first, *_) = json.loads(capfd.readouterr().out)["records"]
    assert (first["name"], first["state"]) == ("first", "stale")
    assert first["command"] == ["python", "make.py", "results", "results/first.json"]
    assert {"device", "date", "seconds", "commit", "dirty"} <= first.keys()

    os.utime(records.ROOT / "base.py", (time.time() - 3600,) * 2)
    save(checkout / "ready", 2)
    (checkout / "how.py").write_text(f"{new}sys.exit(1)")
    assert cli.main(["records", "--renew", "first"]) == 1
    assert capfd.readouterr().err == "tokensphere: first: its command ended with exit code 1\n"
    (checkout / "how.py").write_text(new)
    assert cli.main(["records", "--renew", "first"]) == 0
    assert one("first").state == "fresh"


@pytest.mark.parametrize("arguments", [["--data", "d"], ["--json", "--renew", "first"]])
def test_options_that_say_nothing_together_are_refused(checkout, arguments, capsys):
    assert cli.main(["records", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
