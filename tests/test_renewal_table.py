"""The table of renewals: every record has a command, and every command is one that exists."""

import argparse
import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

from tokensphere.paper import chapters
from tokensphere.paper.renewal import state, table

ROOT = Path(__file__).parents[1]
RENEWALS = table.renewals()


@pytest.fixture(scope="module")
def listed():
    return state.states()


def test_every_record_has_a_command_and_every_command_a_record(listed):
    assert [one.name for one in listed if one.renewal is None] == []
    assert [one.name for one in listed if one.record is None] == []
    assert [one.name for one in listed if one.unchecked] == []


class Parsed(Exception):
    """Arguments were understood."""


@pytest.mark.parametrize("renewal", RENEWALS.values(), ids=RENEWALS)
def test_every_command_exists_and_takes_its_arguments(renewal, monkeypatch):
    command = renewal.command({"record": "r.json", "folder": "f"})
    if command[0] == "-m":
        name = command[1]
        if importlib.util.find_spec(name).submodule_search_locations is not None:
            name += ".__main__"
        module, arguments = importlib.import_module(name), command[2:]
    else:
        spec = importlib.util.spec_from_file_location("script", ROOT / command[0])
        module, arguments = importlib.util.module_from_spec(spec), command[1:]
        spec.loader.exec_module(module)
    parse = argparse.ArgumentParser.parse_args

    def stop(self, given=None, namespace=None):
        raise Parsed(parse(self, given, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(Parsed) as caught:
        module.main(arguments)
    if renewal.chapter is not None:
        values = dict(caught.value.args[0].parameters)
        notebook = chapters.read(chapters.find(renewal.chapter))
        assert values.keys() <= chapters.declared(notebook).keys()


@pytest.mark.parametrize(("record", "variable"), [("survey", "counted"), ("following", "turned")])
def test_parameters_in_the_table_are_those_of_the_chapter_that_writes_the_record(record, variable):
    notebook = chapters.read(chapters.find(RENEWALS[record].chapter))
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    values = [
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == variable
    ]
    assert values == [RENEWALS[record].asked]
