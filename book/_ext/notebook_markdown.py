"""Pages of the book as the Markdown of Jupyter and Colab.

What Sphinx has read and resolved, `Writer` writes with what both of them show: headings with the
book's numbers, theorems and admonitions as quotations under a bold title, folded proofs and
dropdowns as <details>, citations and references as links to the online page, formulas with the
book's macros written out, an equation's number as its tag.

Formulas stand on one line each. Jupyter takes them out before it reads the Markdown: a quotation's
mark at the start of a formula's second line would become part of it.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

import tex_macros
from docutils import nodes
from markdown_text import (
    ends_in_text,
    escaped,
    guarded,
    listed,
    marked,
    one_line,
    quoted,
    quoted_url,
)
from sphinx import addnodes

QED = "∎"
SILENT = (
    nodes.comment,
    nodes.docinfo,
    nodes.meta,
    nodes.pending,
    nodes.substitution_definition,
    nodes.system_message,
    nodes.target,
    addnodes.highlightlang,
    addnodes.index,
)


@dataclass(frozen=True)
class CodeCell:
    """Where a code cell stands: its number among the cells, and its figure's caption or ""."""

    index: int
    caption: str


class Writer:
    """Writes one page.

    env: Sphinx's, after all pages were read: it has the numbers.
    url: the page's own address; the book's other pages lie below `site`.
    """

    def __init__(self, env, page: str, site: str):
        self.env, self.page, self.site = env, page, site
        self.url = urljoin(site, f"{page}.html")
        self.macros = (env.config.mathjax3_config or {}).get("tex", {}).get("macros", {})
        self.depth = 0

    def cells(self, document: nodes.document) -> Iterator[str | CodeCell]:
        """Markdown cells, a new one at each heading, and the places of code cells between them."""
        texts: list[str] = []
        for piece in self._pieces(document, 0):
            opens = isinstance(piece, CodeCell) or re.match("#+ ", piece)
            if opens and texts:
                yield "\n\n".join(texts)
                texts = []
            if isinstance(piece, CodeCell):
                yield piece
            else:
                texts.append(piece)
        if texts:
            yield "\n\n".join(texts)

    def _pieces(self, parent: nodes.Element, depth: int) -> Iterator[str | CodeCell]:
        self.depth = depth
        for node in parent.children:
            if isinstance(node, nodes.section):
                yield from self._pieces(node, depth + 1)
                self.depth = depth
            elif node.get("nb_element") == "cell_code":
                yield CodeCell(node["cell_index"], self._caption(node))
            elif text := self.block(node):
                yield text

    def _caption(self, cell: nodes.Element) -> str:
        found = next(iter(cell.findall(nodes.figure)), None)
        return self.block_caption_of(found) if found is not None else ""

    # Blocks: Markdown without a blank line at either end.

    def block(self, node: nodes.Node) -> str:
        return self._call("block", node)

    def blocks(self, parent: nodes.Element | list[nodes.Node]) -> str:
        return "\n\n".join(text for child in parent if (text := self.block(child)))

    def _call(self, kind: str, node: nodes.Node) -> str:
        if isinstance(node, SILENT):
            return ""
        for cls in type(node).__mro__:
            if method := getattr(self, f"{kind}_{cls.__name__}", None):
                return method(node)
        raise NotImplementedError(f"{self.page}: {kind} {node.tagname} in a notebook: {node!s:.80}")

    def block_Element(self, node) -> str:
        """Of a kind that says nothing in a notebook: its content."""
        shown = [child for child in node.children if not isinstance(child, SILENT)]
        holds_text = any(isinstance(child, nodes.Text | nodes.Inline) for child in shown)
        return self.block_paragraph(node) if holds_text else self.blocks(node)

    def block_Text(self, node) -> str:
        return self.block_paragraph(nodes.paragraph("", "", nodes.Text(node.astext())))

    def block_Inline(self, node) -> str:
        return self.block_paragraph(nodes.paragraph("", "", node.deepcopy()))

    def block_title(self, node) -> str:
        numbers = self.env.toc_secnumbers.get(self.page, {})
        ids = [f"#{id}" for id in node.parent["ids"]] + [""] * (self.depth == 1)
        number = next((numbers[id] for id in ids if numbers.get(id)), ())
        shown = ".".join(map(str, number)) + ". " if number else ""
        return "#" * self.depth + " " + shown + one_line(self.inlines(node))

    def block_rubric(self, node) -> str:
        return f"**{one_line(self.inlines(node))}**"

    def block_paragraph(self, node) -> str:
        """A paragraph; the ledger's marks in it become a list."""
        parts, run = [], []
        for child in [*node.children, None]:
            mark = child is not None and "claim-mark" in _classes(child)
            if mark or child is None:
                if text := guarded(self.inlines(run)):
                    parts.append(text)
                run = []
            else:
                run.append(child)
            if mark:
                line = "- " + self.claim_mark(child)
                if parts and parts[-1].startswith("- ["):
                    parts[-1] += "\n" + line
                else:
                    parts.append(line)
        return "\n\n".join(parts)

    def claim_mark(self, node) -> str:
        """Verdict, the paper's number, the command.

        Links to sources and the report are left to the online page: they name a commit.
        """
        parts = [part.strip() for part in self.inlines(node).split("·")]
        left_out = ("checks:", "[report](")
        return " · ".join(part for part in parts if part and not part.startswith(left_out))

    def block_math_block(self, node) -> str:
        number = ""
        if node.get("number"):
            numbers = self.env.toc_fignumbers.get(self.page, {}).get("displaymath", {})
            number = self._number(numbers, node) or str(node["number"])
        return self.display(node.astext(), number)

    def display(self, tex: str, number: str = "") -> str:
        """A display on one line, its lines set as Sphinx sets them."""
        tex = re.sub(r"(?<!\\)%.*", "", tex)
        rows = [self.tex(row) for row in re.split(r"\n\s*\n", tex) if row.strip()]
        if len(rows) == 1 and r"\\" in rows[0] and r"\begin{" not in rows[0]:
            rows = [rf"\begin{{split}}{rows[0]}\end{{split}}"]
        if len(rows) > 1:
            rows = [r"\begin{gathered}" + r"\\ ".join(rows) + r"\end{gathered}"]
        return f"$${rows[0]}" + (rf" \tag{{{number}}}" if number else "") + "$$"

    def tex(self, tex: str) -> str:
        """A formula on one line, without macros of ours, and with nothing that looks like a tag."""
        tex = tex_macros.expand(one_line(tex).strip(), self.macros)
        return re.sub(r"<(?=[A-Za-z/!])", "< ", tex)

    def block_literal_block(self, node) -> str:
        text = node.astext().rstrip("\n")
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        language = node.get("language", "")
        return f"{fence}{'' if language in ('none', 'default') else language}\n{text}\n{fence}"

    def block_block_quote(self, node) -> str:
        return quoted(self.blocks(node))

    def block_Admonition(self, node) -> str:
        """Also a box of sphinx-proof: title and content."""
        title, body = self._title(node)
        if "dropdown" in node["classes"]:
            return self.details(title, self.blocks(body))
        return quoted(f"**{self._line(title)}**\n\n{self.blocks(body)}")

    def _title(self, node) -> tuple[list[nodes.Node], list[nodes.Node]]:
        """Title and content of a box, its kind and number in the title."""
        body = list(node.children)
        title = list(body.pop(0).children) if isinstance(body[0], nodes.title) else []
        kind = node.get("realtype") or ("" if title else type(node).__name__)
        if kind:
            numbers = self.env.toc_fignumbers.get(self.page, {})
            number = self._number(numbers.get(node.get("countertype"), {}), node)
            head = " ".join(filter(None, [kind.capitalize(), number]))
            title = [nodes.Text(head), *title]  # sphinx-proof begins a title with a blank
        return title, body

    def _number(self, numbers: dict, node) -> str:
        found = next((numbers[id] for id in node["ids"] if id in numbers), ())
        return ".".join(map(str, found))

    def _line(self, children: list[nodes.Node]) -> str:
        return one_line(self.inlines(children)).strip()

    def block_proof_node(self, node) -> str:
        """A proof, which sphinx-proof begins with the word; folded if its class says so."""
        box = node.children[0]
        body = [child.deepcopy() for child in box.children]
        if body and isinstance(body[0], nodes.title):
            body.pop(0)
        first = next(iter(body[0].findall(nodes.Text)), None) if body else None
        if first is not None and first.startswith("Proof."):
            first.parent.replace(first, nodes.Text(first.removeprefix("Proof.").lstrip()))
        text = self.blocks(body)
        text += (" " if ends_in_text(text) else "\n\n") + QED
        if "dropdown" in box["classes"]:
            return self.details([nodes.Text("Proof")], text)
        between = " " if body and isinstance(body[0], nodes.paragraph) else "\n\n"
        return f"*Proof.*{between}{text}"

    def block_container(self, node) -> str:
        """A plain one, or a part of sphinx-design."""
        if node.get("design_component") == "dropdown":  # where no page is made
            title = [nodes.Text("More")]
            body = list(node.children)
            if node["has_title"]:
                title = list(body.pop(0).children)
            return self.details(title, self.blocks(body))
        if node.get("design_component") == "card":
            return quoted(self.blocks(node))
        if node.get("design_component") == "card-title":
            return f"**{self._line(node.children)}**"
        return self.block_Element(node)

    def block_dropdown_main(self, node) -> str:
        """A dropdown of sphinx-design on a page."""
        return self.details(list(node.children[0].children), self.blocks(node.children[1:]))

    def details(self, title: list[nodes.Node], body: str) -> str:
        """A folded box. Its title is HTML, in which Markdown is not read; formulas are."""
        summary = one_line("".join(map(self._summary, title))).strip()
        return f"<details>\n<summary><b>{summary}</b></summary>\n\n{body}\n\n</details>"

    def _summary(self, node: nodes.Node) -> str:
        if isinstance(node, nodes.math):
            return f"${self.tex(node.astext())}$"
        if isinstance(node, nodes.Text):
            return html.escape(node.astext(), quote=False)
        if isinstance(node, nodes.raw):  # an icon
            return ""
        return "".join(map(self._summary, node.children))

    def block_transition(self, node) -> str:
        return "---"

    def block_raw(self, node) -> str:
        return node.astext().strip() if "html" in node["format"].split() else ""

    def block_bullet_list(self, node) -> str:
        return listed([("- ", self.blocks(item)) for item in node.children])

    def block_enumerated_list(self, node) -> str:
        start = node.get("start", 1)
        items = enumerate(node.children, start)
        return listed([(f"{number}. ", self.blocks(item)) for number, item in items])

    def block_definition_list(self, node) -> str:
        items = []
        for item in node.children:
            terms = ", ".join(self._line([t]) for t in item.children if isinstance(t, nodes.term))
            rest = [child for child in item.children if isinstance(child, nodes.definition)]
            items.append(("- ", f"**{terms}**: {self.blocks(rest)}"))
        return listed(items)

    def block_table(self, node) -> str:
        rows = [[self._entry(entry) for entry in row.children] for row in node.findall(nodes.row)]
        if next(iter(node.findall(nodes.thead)), None) is None:
            rows.insert(0, [""] * len(rows[0]))
        rows.insert(1, ["---"] * len(rows[0]))
        title = next((child for child in node.children if isinstance(child, nodes.title)), None)
        caption = f"**{self._line([title])}**\n\n" if title is not None else ""
        return caption + "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def _entry(self, entry) -> str:
        text = re.sub(r"\n\n+", "<br>", self.blocks(entry)).replace("\n", " ")
        # Bars end a cell, in formulas too where they are not taken out first.
        pieces = re.split(r"(\$[^$]*\$)", text)
        for place, piece in enumerate(pieces):
            if place % 2:
                piece = piece.replace(r"\|", r"\Vert ")
                pieces[place] = re.sub(r"(?<!\\)\|", r"\\vert ", piece)
            else:
                pieces[place] = re.sub(r"(?<!\\)\|", r"\\|", piece)
        return "".join(pieces)

    def block_figure(self, node) -> str:
        picture = next(iter(node.findall(nodes.image)), None)
        shown = self.inline_image(picture) if picture is not None else ""
        return "\n\n".join(filter(None, [shown, self.block_caption_of(node)]))

    def block_caption_of(self, figure) -> str:
        numbers = self.env.toc_fignumbers.get(self.page, {}).get("figure", {})
        number = self._number(numbers, figure)
        name = self.env.config.numfig_format["figure"] % number if number else ""
        caption = next(iter(figure.findall(nodes.caption)), None)
        text = self._line(list(caption.children)) if caption is not None else ""
        return f"**{name}** {text}".strip() if name else text

    def block_footnote(self, node) -> str:
        label, *body = node.children
        return f"<sup>{label.astext()}</sup> {self.blocks(body)}"

    # Inlines.

    def inlines(self, parent: nodes.Element | list[nodes.Node]) -> str:
        return "".join(self._call("inline", child) for child in parent)

    def inline_Element(self, node) -> str:
        return self.inlines(node)

    def inline_Text(self, node) -> str:
        return escaped(node.astext())

    def inline_math(self, node) -> str:
        return f"${self.tex(node.astext())}$"

    def inline_math_block(self, node) -> str:
        return self.block_math_block(node)

    def inline_literal(self, node) -> str:
        text = one_line(node.astext())
        ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
        pad = " " if text.startswith("`") or text.endswith("`") else ""
        return f"{ticks}{pad}{text}{pad}{ticks}"

    def inline_emphasis(self, node) -> str:
        return marked("*", self.inlines(node))

    def inline_strong(self, node) -> str:
        return marked("**", self.inlines(node))

    def inline_subscript(self, node) -> str:
        return f"<sub>{self.inlines(node)}</sub>"

    def inline_superscript(self, node) -> str:
        return f"<sup>{self.inlines(node)}</sup>"

    def inline_footnote_reference(self, node) -> str:
        return f"<sup>{html.escape(node.astext())}</sup>"

    def inline_reference(self, node) -> str:
        address = node.get("refuri", "")
        if node.get("refid"):
            address = f"#{node['refid']}"
        return f"[{self.inlines(node)}]({quoted_url(urljoin(self.url, address))})"

    def inline_image(self, node) -> str:
        name = self.env.images.get(node["uri"], (None, node["uri"]))[1]
        address = node["uri"] if "://" in node["uri"] else urljoin(self.site, f"_images/{name}")
        return f"![{escaped(node.get('alt', ''))}]({quoted_url(address)})"

    def inline_raw(self, node) -> str:
        return self.block_raw(node)


def _classes(node: nodes.Node) -> list[str]:
    return node["classes"] if isinstance(node, nodes.Element) else []
