"""The library's pages: docstrings as they are read, what has a place, links from code."""

import html
import inspect
import re
import sys
from pathlib import Path

import pytest
from docutils.core import publish_doctree
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

import tokensphere

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import api_links
import api_names
import docstrings
import notebooks

NOT_SHOWN = {
    "tokensphere.sinks.report": "the command's own; its function is `tokensphere sinks`",
    "tokensphere.sinks.figures": "a module of the paper's, by another name",
    "tokensphere.reorder.experiment": "moves to the paper's wing with its next record",
    "tokensphere.reorder.scaling": "moves to the paper's wing with its next record",
}
"""What chapters import of the library and its pages leave out, and why."""


def doctree(text: str, known=lambda name: False):
    lines = docstrings.restructured(inspect.cleandoc(text).splitlines(), known)
    # Roles of Sphinx are not docutils' own.
    plain = re.sub(r":(py:)?(func|class|meth|mod|obj|data|attr|exc):(?=`)", "", "\n".join(lines))
    return publish_doctree(plain, settings_overrides={"halt_level": 2, "report_level": 2})


def test_stars_bars_and_underscores_are_mathematics():
    text = "With |x|, x* and A*B*C, a_ (b_) and x_l: **kwargs, S_BC."
    assert doctree(text).astext() == text


def test_words_in_stars_are_stressed():
    tree = doctree("A *field* and **column** d of 2*x*y, x* and *x.")
    assert tree.astext() == "A field and column d of 2*x*y, x* and *x."
    assert len([node for node in tree[0] if node.tagname in ("emphasis", "strong")]) == 2


def test_arguments_become_definitions_with_what_goes_on_below():
    tree = doctree("""Does.

    Args:
        x, y: (L, D), of
            which <x, y> counts.

            A second paragraph.
        z (optional): a `name`s plural.
    Returns:
        (L,), a sum.
    Raises:
        ValueError: bad x.
    """)
    fields = {f[0].astext(): f[1] for f in tree.findall(lambda n: n.tagname == "field")}
    assert list(fields) == ["Parameters", "Returns", "Raises"]
    terms = [term.astext() for term in tree.findall(lambda n: n.tagname == "term")]
    assert terms == ["x, y", "z (optional)", "ValueError"]
    assert "which <x, y> counts.\n\nA second paragraph." in fields["Parameters"].astext()
    assert "a names plural" in fields["Parameters"].astext()
    assert fields["Returns"].astext() == "(L,), a sum."


def test_indented_blocks_stand_as_they_are():
    tree = doctree("""Obeys

        x' = a *  x      grows
        y' = b

    and a list below its sentence:
        one    1
        two    2
    """)
    shown = [node.astext() for node in tree.findall(lambda n: n.tagname == "literal_block")]
    assert shown == ["x' = a *  x      grows\ny' = b", "one    1\ntwo    2"]


def test_a_sentence_on_the_line_of_a_section_goes_on_below_it():
    field = doctree("Does.\n\nRaises: as `f`, and\n    more.")[1][0]
    assert [part.astext() for part in field] == ["Raises", "as f, and\nmore."]


def test_several_items_in_a_row_are_definitions_one_is_a_sentence():
    rows = doctree("Keeps.\n\nname: whose.\nsize: how\n    large.")
    assert [n.astext() for n in rows.findall(lambda n: n.tagname == "term")] == ["name", "size"]
    assert doctree("Adaptive: by scipy.").astext() == "Adaptive: by scipy."


def test_known_names_are_links():
    assert ":py:obj:`simulate`" in docstrings.inline(
        "See `simulate`, `x`.", {"simulate"}.__contains__
    )
    assert "``x``" in docstrings.inline("See `simulate`, `x`.", {"simulate"}.__contains__)


@pytest.mark.parametrize("page", sorted(set(api_names.documented().values())))
def test_every_docstring_of_a_page_is_understood(page):
    for name in (name for name, place in api_names.documented().items() if place == page):
        value = api_names.attribute(name)
        members = [value] if api_names.kind(value) != "data" else []
        if inspect.isclass(value):
            members += [member for key, member in vars(value).items() if not key.startswith("_")]
        for member in members:
            if text := getattr(member, "__doc__", None):
                doctree(text)  # halts at what reStructuredText takes for markup gone wrong


def test_every_room_and_what_it_offers_has_a_place():
    for room in tokensphere.__all__:
        module = f"tokensphere.{room}"
        assert module in api_names.documented()
        for name in getattr(api_names.attribute(module), "__all__", []):
            value = api_names.attribute(f"{module}.{name}")
            if api_names.kind(value) != "module":
                assert f"{module}.{name}" in api_names.documented()


def test_a_name_has_one_place():
    places = [n for n in api_names.documented() if api_names.kind(api_names.attribute(n)) != "data"]
    assert len({id(api_names.attribute(name)) for name in places}) == len(places)


@pytest.mark.parametrize("page", notebooks.chapters())
def test_every_name_of_the_library_in_a_chapter_has_a_place(page):
    reader, meant = api_links.Reader(), set()
    for code, _ in notebooks.code(notebooks.read(page)):
        meant |= {link.name for link in reader.read(code)}
    ours = {name for name in meant if not name.startswith("tokensphere.paper")}
    assert ours
    missing = {
        name
        for name in ours
        if api_names.address(name) is None
        and api_names.kind(api_names.attribute(name)) != "data"
        and not name.startswith(tuple(NOT_SHOWN))
    }
    assert not missing


CODE = """\
import torch
%matplotlib inline
from tokensphere import flow, circle as c
from tokensphere.flow import integrate, simulate
é = "flow"; flow.MambaFlow(é)
def f(flow, x=simulate):
    return flow.project
[simulate for simulate in c.KINDS]
simulate = simulate(c.portrait(1).limit)
simulate, integrate.unit
torch.flow = flow
"""


def test_names_are_read_as_python_binds_them():
    lines = CODE.split("\n")
    links = api_links.Reader().read(CODE)
    found = [
        (CODE[: link.start].count("\n") + 1, CODE[link.start : link.end], link.name)
        for link in links
    ]
    short = [(row, text, name.removeprefix("tokensphere.")) for row, text, name in found]
    assert short == [
        (3, "flow", "flow"),
        (3, "circle as c", "circle"),
        (4, "integrate", "flow.integrate"),
        (4, "simulate", "flow.simulate"),
        (5, "flow.MambaFlow", "flow.MambaFlow"),
        (6, "simulate", "flow.simulate"),
        (8, "c.KINDS", "circle.KINDS"),
        (9, "simulate", "flow.simulate"),
        (9, "c.portrait", "circle.portrait"),
        (10, "integrate.unit", "flow.integrate.unit"),
        (11, "flow", "flow"),
    ]
    assert lines[9].startswith("simulate,")  # bound anew in line 9


def test_names_last_from_cell_to_cell():
    reader = api_links.Reader()
    assert not reader.read("not python (")
    reader.read("from tokensphere import flow as f")
    assert [link.name for link in reader.read("f.simulate")] == ["tokensphere.flow.simulate"]
    reader.read("f = 1")
    assert not reader.read("f.simulate")


def test_a_function_that_is_imported_elsewhere_has_its_own_place():
    assert api_names.address("tokensphere.flow.integrate.simulate") == "tokensphere.flow.simulate"
    assert api_names.address("tokensphere.no.such") is None
    assert api_names.address("tokensphere.flow.integrate.torch") is None


CONF = """
# Of its own: else Sphinx writes ".md" into a default that later builds in the process share.
source_suffix = {".md": "markdown"}
extensions = ["myst_parser", "api_pages", "api_links"]
html_theme = "basic"
"""
FENCE = "`" * 3
PAGES = {
    "index": f"# First\n\n{FENCE}{{toctree}}\napi/flow\n{FENCE}\n\n{FENCE}python\n"
    "from tokensphere import flow\n\nrun = flow.simulate(field, x < '&', times)\n"
    f"{FENCE}\n\n{FENCE}text\nflow.simulate\n{FENCE}\n",
    "api/flow": notebooks.source("api/flow").read_text("utf-8"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The page of one room, and a page with code; what Sphinx warned of."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "api").mkdir()
    (folder / "conf.py").write_text(CONF)
    for name, text in PAGES.items():
        (folder / f"{name}.md").write_text(text)
    warned = (folder / "warnings").open("w+")
    with docutils_namespace():
        Sphinx(
            folder, folder, folder / "out", folder / "trees", "html", status=None, warning=warned
        ).build()
    warned.seek(0)
    assert warned.read() == ""
    return folder / "out"


def test_a_page_has_signature_shapes_and_what_is_raised(built):
    page = (built / "api" / "flow.html").read_text("utf-8")
    entry = page[page.index('id="tokensphere.flow.simulate"') :]
    entry = entry[: entry.index("</dl>\n\n<dl")]
    text = html.unescape(re.sub(r"<[^>]*>", "", entry))
    for expected in (
        "rtol: float = 1e-09",
        "(…, L, D), unit rows, float64",
        "ValueError",
        "RuntimeError",
    ):
        assert expected in " ".join(text.split())
    index = (built / "searchindex.js").read_text("utf-8")
    assert "SharedStepFlow" in index and "one_rate" in index


def test_code_leads_there_and_stays_the_same(built):
    page = (built / "index.html").read_text("utf-8")
    cell, plain = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    links = re.findall(r'<a class="api" href="(.*?)" title="(.*?)">(.*?)</a>', cell, re.DOTALL)
    assert [(address, re.sub("<.*?>", "", text)) for address, _, text in links] == [
        ("api/flow.html#module-tokensphere.flow", "flow"),
        ("api/flow.html#tokensphere.flow.simulate", "flow.simulate"),
    ]
    code = html.unescape(re.sub("<.*?>", "", cell))
    assert code == "from tokensphere import flow\n\nrun = flow.simulate(field, x < '&', times)\n"
    assert "<a" not in plain
