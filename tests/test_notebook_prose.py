"""Chapters as notebooks: what stands between the code cells is the Markdown of Jupyter."""

import re
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))
import notebook_prose
import notebooks
import tex_macros
from markdown_text import escaped, guarded
from notebook_markdown import CodeCell, Writer

SITE = "https://example.org/book/"
MACROS = {"R": r"\mathbb{R}", "norm": [r"\lVert #1 \rVert", 1], "two": [r"[#2|#1]", 2]}


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\R^d", r"\mathbb{R}^d"),
        (r"\Re x", r"\Re x"),
        (r"\norm{x}", r"\lVert x \rVert"),
        (r"\norm x+1", r"\lVert x \rVert+1"),
        (r"\norm{\norm{a}_{b}}", r"\lVert \lVert a \rVert_{b} \rVert"),
        (r"\two{\R}{\{b\}}", r"[\{b\}|\mathbb{R}]"),
        (r"\two {a}\alpha", r"[\alpha|a]"),
        (r"\\R", r"\\R"),
    ],
)
def test_macros_are_written_out(tex, expected):
    assert tex_macros.expand(tex, MACROS) == expected


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\P x", r"\pi x"),
        (r"\Q{2}x", r"2\pi x"),  # as MathJax reads it, and not as one command
        (r"\S{\pi}", r"\pi x"),
        (r"{\P}x", r"{\pi}x"),
    ],
)
def test_a_command_keeps_apart_from_letters_behind_it(tex, expected):
    assert tex_macros.expand(tex, {"P": r"\pi", "Q": [r"#1\pi", 1], "S": ["#1x", 1]}) == expected


@pytest.mark.parametrize("tex", [r"\norm", r"\norm{x"])
def test_a_macro_without_its_argument_is_refused(tex):
    with pytest.raises(ValueError, match="norm"):
        tex_macros.expand(tex, MACROS)


def test_text_shows_as_it_is():
    assert escaped("a*b, x_i, _x_, `c`, $3, a<b, a < b, \\n") == (
        r"a\*b, x_i, \_x\_, \`c\`, \$3, a&lt;b, a < b, \\n"
    )


def test_no_line_of_a_paragraph_begins_a_block():
    assert guarded("- a\n2. b\n# c\n> d\n2.5 e") == "\\- a\n2\\. b\n\\# c\n\\> d\n2.5 e"


PAGE = r"""---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3}
---
# A page

:::{admonition} In short
:class: in-short
**Asked.** Why $\norm{x}<y$?

**Found.**
- one, *holds*
- two
:::

| one | two |
| --- | --- |
| $\lvert a \rvert$ | `a\|b` |

```{code-cell} ipython3
:tags: [parameters]
seed = 0
```

## A section

```{prf:theorem} Title with $\R$
:label: thm-a
Let

$$
x
  = \R
$$ (eq-a)

Then $a<b$.
```

```{prf:proof}
:class: dropdown
By {eq}`eq-a`.

1. One.

   $$
   \begin{aligned} a &= b \\ c &= d \end{aligned}
   $$

2. Two.
```

```{prf:proof}
Short, by {prf:ref}`thm-a` and {doc}`other`.
```

```{code-cell} ipython3
---
mystnb:
  image: {alt: A curve}
  figure:
    name: fig-a
    caption: 'The curve $\R$.'
---
1
```

{numref}`fig-a` shows it.

:::{dropdown} What you should *see* for $\R$
It falls.

- To zero.
:::

::::{grid} 1
:::{grid-item-card} A card
Its text, with a [link](https://example.com/a_b).
:::
::::

```{note}
A note.
```

```{tip}
:class: dropdown
A tip.
```

(place)=
### A place

See [there](#place) and {ref}`place`.
1\. is no list. [^one]

[^one]: A footnote.

Term
: Its meaning.

```python
f"{x}" # $not a formula$
```
"""


@pytest.fixture(scope="module", params=["dummy", "html"])
def cells(request, tmp_path_factory):
    """The page's, where nothing is made of it and where a page is."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "index.md").write_text("# Root\n\n```{toctree}\n:numbered:\npage\nother\n```\n")
    (folder / "page.md").write_text(PAGE)
    (folder / "other.md").write_text("# Another page\n")
    settings = {
        "extensions": ["myst_nb", "sphinx_design", "sphinx_proof"],
        "source_suffix": {".md": "myst-nb"},
        "myst_enable_extensions": ["amsmath", "colon_fence", "deflist", "dollarmath"],
        "nb_execution_mode": "force",
        "nb_execution_raise_on_error": True,
        "nb_render_markdown_format": "myst",
        "numfig": True,
        "mathjax3_config": {"tex": {"macros": MACROS}},
        "prf_realtyp_to_countertyp": {},
    }
    with patch_docutils(None), docutils_namespace():
        app = Sphinx(
            folder,
            None,
            folder / "out",
            folder / "trees",
            request.param,
            confoverrides=settings,
            status=None,
        )
        app.build()
        if request.param == "dummy":
            app.builder = notebook_prose.ProseBuilder(app, app.env)
        document = app.env.get_and_resolve_doctree("page", app.builder)
        return list(Writer(app.env, "page", SITE).cells(document))


def text(cells):
    return "\n\n".join(cell for cell in cells if isinstance(cell, str))


def test_cells_begin_at_headings_and_after_code(cells):
    shown = [c.index if isinstance(c, CodeCell) else c.partition("\n")[0] for c in cells]
    figure = f"[Fig. 1.1]({SITE}page.html#fig-a) shows it."
    assert shown == ["# 1. A page", 1, "## 1.1. A section", 3, figure, "### 1.1.1. A place"]


def test_a_figure_has_its_number_and_caption(cells):
    assert cells[3].caption == r"**Fig. 1.1** The curve $\mathbb{R}$."
    assert f"[Fig. 1.1]({SITE}page.html#fig-a) shows it." in text(cells)


@pytest.mark.parametrize(
    "expected",
    [
        # An admonition, with a list.
        "> **In short**\n>\n> **Asked.** Why $\\lVert x \\rVert< y$?\n>\n> **Found.**\n>\n"
        "> - one, *holds*\n> - two",
        # A table.
        "| one | two |\n| --- | --- |\n| $\\lvert a \\rvert$ | `a\\|b` |",
        # A theorem, with its equation.
        "> **Theorem 1.1 (Title with $\\mathbb{R}$)**\n>\n> Let\n>\n"
        "> $$x = \\mathbb{R} \\tag{1.1}$$\n>\n> Then $a< b$.",
        # Proofs, folded and not.
        f"<details>\n<summary><b>Proof</b></summary>\n\nBy [(1.1)]({SITE}page.html#equation-eq-a).",
        "1. One.\n\n   $$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$\n\n2. Two.\n\n∎\n\n"
        "</details>",
        f"*Proof.* Short, by [Theorem 1.1]({SITE}page.html#thm-a) and "
        f"[Another page]({SITE}other.html). ∎",
        # Dropdowns, cards, notes.
        "<details>\n<summary><b>What you should see for $\\mathbb{R}$</b></summary>\n\n"
        "It falls.\n\n- To zero.\n\n</details>",
        "> **A card**\n>\n> Its text, with a [link](https://example.com/a_b).",
        "> **Note**\n>\n> A note.",
        "<details>\n<summary><b>Tip</b></summary>\n\nA tip.\n\n</details>",
        # The rest.
        f"See [there]({SITE}page.html#place) and [A place]({SITE}page.html#place).\n"
        "1\\. is no list.",
        "<sup>1</sup> A footnote.",
        "- **Term**: Its meaning.",
        '```python\nf"{x}" # $not a formula$\n```',
    ],
)
def test_what_is_made_of_it(cells, expected):
    assert expected in text(cells)


# The book.

PAGES = notebooks.chapters()


@pytest.fixture(scope="module")
def book():
    return notebook_prose.of_all()


@pytest.mark.parametrize("page", PAGES)
def test_no_source_of_the_book_is_left(book, page):
    shown = re.sub(r"(?ms)^[> ]*```.*?^[> ]*```$|`[^`\n]+`", "", text(book[page]))
    assert not re.findall(r"(?m)`{3,}\{|:{3,}|\{[a-z:]+\}`|^\(\S+\)=|^\+\+\+", shown)
    macros = notebooks.config()["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    assert not set(macros) & set(re.findall(r"\\([A-Za-z]+)", shown))


@pytest.mark.parametrize("page", PAGES)
def test_no_commit_is_named_that_the_next_one_would_change(book, page):
    assert not re.findall(r"\b[0-9a-f]{40}\b", text(book[page]))


@pytest.mark.parametrize("page", PAGES)
def test_formulas_stand_on_one_line_and_are_closed(book, page):
    for line in text(book[page]).split("\n"):
        outside = re.sub(r"\\.|`[^`]*`", "", line)
        assert outside.count("$") % 2 == 0, line
        if "$$" in outside:
            # A text in it may hold formulas of its own.
            assert re.fullmatch(r"[> ]*\$\$[^$].*[^$]\$\$", outside), line


@pytest.mark.parametrize("page", PAGES)
def test_every_code_cell_is_there_as_it_was(book, page):
    kept = nbformat.read(notebooks.baseline(page), as_version=4)
    shown = notebooks.with_prose(page, kept, book[page])
    nbformat.validate(shown)

    def executed(notebook):
        return [{**cell, "id": None} for cell in notebook.cells if cell.cell_type == "code"]

    assert executed(shown) == executed(kept)
    # Each stands where the chapter has it: below the same heading.
    assert headings(shown) == headings(notebooks.read(page))


def headings(notebook):
    """The text of the heading above each code cell, less numbers and markup."""
    found, heading = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found += [heading] if "setup" not in cell.metadata.get("tags", []) else []
        else:
            lines = re.findall(r"(?m)^#+ (?:[\d.]+ )?(.*)", cell.source)
            heading = re.sub(r"\W|ensuremath", "", lines[-1]) if lines else heading
    return found


@pytest.mark.parametrize("page", PAGES)
def test_papermill_finds_the_parameters(book, page, tmp_path):
    path = tmp_path / "chapter.ipynb"
    path.write_text(notebooks.to_download(page, book[page]), encoding="utf-8")
    before = nbformat.reads(path.read_text("utf-8"), as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in before.cells]
    assert sum("parameters" in tag for tag in tags) == 1
    assert papermill.inspect_notebook(str(path))


@pytest.mark.parametrize("page", PAGES)
def test_baselines_have_the_prose_of_today(book, page):
    kept = nbformat.read(notebooks.baseline(page), as_version=4)
    fresh = notebooks.with_prose(page, kept, book[page])
    assert [cell.source for cell in kept.cells] == [cell.source for cell in fresh.cells], (
        "run `python tests/baselines.py --prose`"
    )
