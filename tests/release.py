"""What a release is made of: .github/workflows/release.yml calls it, RELEASING.md says when.

python tests/release.py check [TAG]          # version, changelog, citation and tag agree
python tests/release.py notes                # the changelog's part of this version
python tests/release.py pack --out DIR       # the built book as archive and PDF, with checksums
python tests/release.py notebooks --out DIR  # the executed notebooks that the built book offers
"""

import argparse
import hashlib
import re
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of what is written into archives: the same book gives the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


class Unready(ValueError):
    """Something that a release must not go out with."""


def version(root: Path = ROOT) -> str:
    """The version of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def check(tag: str | None, root: Path = ROOT) -> None:
    """Raises Unready where a tag, the changelog or the citation say another version or date."""
    this = version(root)
    if tag is not None and tag != f"v{this}":
        raise Unready(f"tag {tag}: pyproject.toml has {this}, whose tag is v{this}")
    dated, _ = section(this, root)
    for key, want in {"version": this, "date-released": dated}.items():
        text = (root / "CITATION.cff").read_text("utf-8")
        said = re.search(rf"^{key}: (\S+)$", text, re.MULTILINE)
        if said is None or said[1] != want:
            raise Unready(f"CITATION.cff: {key} is {said and said[1]}, takes {want}")


def section(this: str, root: Path = ROOT) -> tuple[str, str]:
    """Date and text of a version in CHANGELOG.md; raises Unready where it has none."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    found = re.search(
        rf"^## {re.escape(this)} \((\d{{4}}-\d\d-\d\d)\)\n(.*?)(?=^## |\Z)", text, re.M | re.S
    )
    if found is None or not found[2].strip():
        raise Unready(f"CHANGELOG.md: takes a part `## {this} (YEAR-MONTH-DAY)` with some text")
    return found[1], found[2].strip()


def pack(out: Path, built: Path, this: str) -> list[Path]:
    """Writes the book's archive, its PDF and SHA256SUMS of both; raises Unready without them."""
    pages, printed = built / "html", built / "pdf" / "tokensphere.pdf"
    for needed, target in ((pages / "index.html", "book"), (printed, "pdf")):
        if not needed.is_file():
            raise Unready(f"{needed.name}: not built; `make {target}` first")
    out.mkdir(parents=True, exist_ok=True)
    name = f"tokensphere-{this}-book"
    archive, paper = out / f"{name}.zip", out / f"{name}.pdf"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for path in pages.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{path.relative_to(pages).as_posix()}", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            file.writestr(entry, path.read_bytes())
    shutil.copyfile(printed, paper)
    sums = out / "SHA256SUMS"
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in (paper, archive)
    ]
    sums.write_text("".join(lines), "utf-8")
    return [archive, paper, sums]


def notebooks(out: Path, built: Path) -> list[Path]:
    """Copies the notebooks that the built book offers for download; raises Unready without any."""
    offered = built / "html" / "_sources"
    found = sorted(offered.rglob("*.ipynb"))
    if not found:
        raise Unready("no notebook in the built book: `make book` first")
    if out.exists():
        shutil.rmtree(out)
    copies = [out / path.relative_to(offered) for path in found]
    for path, copy in zip(found, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return copies


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("tag", nargs="?")
    commands.add_parser("notes")
    for name in ("pack", "notebooks"):
        commands.add_parser(name).add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    built = ROOT / "book" / "_build"
    try:
        if arguments.command == "check":
            check(arguments.tag)
            print(f"{version()}: version, changelog and citation agree")
        elif arguments.command == "notes":
            print(section(version())[1])
        elif arguments.command == "pack":
            print(*pack(arguments.out, built, version()), sep="\n")
        else:
            print(f"{len(notebooks(arguments.out, built))} notebooks in {arguments.out}")
    except Unready as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
