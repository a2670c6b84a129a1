"""Chapters of the book: find one by name, run one with other parameters.

A chapter is a MyST notebook. `run` converts it in memory and executes it as the book does, in its
own folder. Needs the extra `book`.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import difflib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokensphere import records
from tokensphere.paper import Refusal
from tokensphere.paper.ledger import ROOT

if TYPE_CHECKING:
    import nbformat


class ChapterError(Refusal):
    """A chapter, a parameter or an output that cannot be used, named in one line."""


class ChapterFailed(RuntimeError):
    """A chapter that started and did not end well, with its exception in one line."""


def find(name: str | os.PathLike[str], book: str | os.PathLike[str] | None = None) -> Path:
    """The file of a chapter.

    name: its path within the book without suffix ("setting/flow"), its last part where only one
        chapter has it ("flow"), or the path of a file that ends in .md.
    book: the book's folder; by default the nearest `book/` with a `_toc.yml` above the working
        directory, or else the one of the package's own checkout.

    Raises ChapterError where nothing, or more than one thing, has that name.
    """
    name = os.fspath(name)
    if name.endswith(".md"):
        if not Path(name).is_file():
            raise ChapterError(f"{name}: no such chapter file")
        return Path(name).resolve()
    folder = book_folder() if book is None else Path(book)
    chapters = pages(folder)
    last = {chapter: chapter.rpartition("/")[2] for chapter in chapters}
    matches = [name] if name in chapters else [c for c in chapters if last[c] == name]
    if len(matches) == 1:
        return chapters[matches[0]]
    if matches:
        raise ChapterError(f"{name!r} names several chapters: {', '.join(matches)}")
    # Close to the path or to its last part, said as the path.
    names = {part: chapter for chapter, part in last.items()} | {c: c for c in chapters}
    close = dict.fromkeys(names[match] for match in difflib.get_close_matches(name, names))
    hint = f"there are {', '.join(chapters) or 'none'}"
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    raise ChapterError(f"no chapter {name!r} in {folder}; {hint}")


def run(
    chapter: str | os.PathLike[str],
    parameters: Mapping[str, Any],
    output: str | os.PathLike[str],
    kernel: str | None = None,
    *,
    log: bool = False,
    confirm: Callable[[], None] | None = None,
) -> Path:
    """Execute a chapter with some of its parameters replaced, and return the path of the notebook.

    chapter: as `find` takes it.
    parameters: values for names of the chapter's `parameters` cell, of the type of the default.
    output: the executed notebook, .ipynb. It appears only once every cell has run; a notebook with
        a failing cell, or whose kernel died, is left as `<stem>.failed.ipynb` beside it.
    kernel: the Jupyter kernel; by default the one the chapter names, or else python3.
    log: what the cells print goes to the logger of papermill, in place of a progress bar.
    confirm: called when every cell has run; if it raises, the notebook does not appear.

    Raises ChapterError for what cannot be started, ChapterFailed for what did not end well.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    from tokensphere.paper.kernels import START_SECONDS, AsyncSocketKernelManager

    source = find(chapter)
    if Path(output).suffix != ".ipynb":
        raise ChapterError(f"output {Path(output).name!r} does not end in .ipynb")
    target = Path(output).absolute()
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    for file in (target, failed):
        check_place(file, "output")
    notebook = read(source)
    kernel = kernel or notebook.metadata.get("kernelspec", {}).get("name", "python3")
    _check_kernel(kernel)
    values = checked(parameters, declared(notebook), source.stem)

    with records.drafted(target, ".ipynb") as draft:
        try:
            executed = papermill.execute_notebook(
                notebook,
                # papermill fills in {name}s in a path.
                str(draft).replace("{", "{{").replace("}", "}}"),
                parameters=values,
                kernel_name=kernel,
                start_timeout=START_SECONDS,
                language="python",
                progress_bar=not log,
                log_output=log,
                cwd=source.parent,
                kernel_manager_class=AsyncSocketKernelManager,
            )
            _refuse_exits(executed)
            if confirm is not None:
                confirm()
            _sign(draft, source, target)
            os.replace(draft, target)
            failed.unlink(missing_ok=True)
        except papermill.PapermillExecutionError as error:
            _sign(draft, source, failed)
            os.replace(draft, failed)
            what = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
            raise ChapterFailed(
                f"{source.stem}: cell [{error.exec_count}] raised {what} (see {failed.name})"
            ) from None
        except DeadKernelError:
            _sign(draft, source, failed)
            os.replace(draft, failed)
            raise ChapterFailed(
                f"{source.stem}: the kernel died: memory was short, or a cell ended it"
            ) from None
    return target


def _check_kernel(name: str) -> None:
    """Raise ChapterError for a kernel that is not installed, or is damaged."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec(name).argv
    except NoSuchKernel:
        raise ChapterError(f"no Jupyter kernel {name!r} is installed") from None
    except Exception as error:  # jupyter_client lets through what a bad kernel.json makes of it
        raise ChapterError(f"the Jupyter kernel {name!r} cannot be read: {error}") from None
    if not command:
        raise ChapterError(f"the Jupyter kernel {name!r} cannot be started: it has no command")


def _refuse_exits(notebook: nbformat.NotebookNode) -> None:
    """Raise where a cell called sys.exit(): papermill ends there, and takes it for an end."""
    import papermill

    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise papermill.PapermillExecutionError(
                    cell_index=index,
                    exec_count=cell.execution_count,
                    source=cell.source,
                    ename=output.ename,
                    evalue=output.evalue,
                    traceback=output.traceback,
                )


def check_place(path: Path, what: str) -> None:
    """Raise ChapterError where a file cannot be written, before the work on what it will hold.

    what: names it in the error.
    """
    if not path.parent.is_dir():
        raise ChapterError(f"{what} folder {path.parent} does not exist")
    if path.is_dir():
        raise ChapterError(f"{what} {path} is a folder, takes a file")
    try:
        with records.drafted(path) as draft:
            draft.touch()
    except OSError as error:
        raise ChapterError(f"{what} {path} cannot be written: {error.strerror}") from None


def book_folder() -> Path:
    """The nearest `book/` above the working directory, or the package's own; else ChapterError."""
    here = Path.cwd()
    for folder in (here, *here.parents, ROOT):
        if (folder / "book" / "_toc.yml").is_file():
            return folder / "book"
    raise ChapterError(f"no book: neither {here} nor a folder above it has a book/_toc.yml")


def pages(book: Path) -> dict[str, Path]:
    """Name -> file of every page in the book's folder, without what tools leave there."""
    return {
        path.relative_to(book).with_suffix("").as_posix(): path.resolve()
        for path in sorted(book.rglob("*.md"))
        if not any(part.startswith(("_", ".")) for part in path.relative_to(book).parts)
    }


def read(source: Path) -> nbformat.NotebookNode:
    """A chapter as a notebook; ChapterError where it is none, or has no code."""
    import jupytext

    try:
        notebook = jupytext.read(source)
    except OSError:  # names the file
        raise
    except Exception as error:  # jupytext lets through whatever a bad head makes of its code
        reason = str(error).partition("\n")[0] or type(error).__name__
        where = ".".join(map(str, getattr(error, "absolute_path", ())))  # nbformat's
        where = f" at {where}" if where else ""
        raise ChapterError(f"{source} cannot be read as a notebook{where}: {reason}") from None
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        raise ChapterError(f"chapter {source.stem!r} holds no code to run")
    # papermill asks for the language, which jupytext leaves to the kernel.
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3"})
    kernel = notebook.metadata["kernelspec"]
    language = kernel.setdefault("language", "python")
    if not kernel["name"] or not isinstance(language, str) or language.lower() != "python":
        raise ChapterError(
            f"{source} cannot be run: its kernelspec is {kernel['name']!r} of {language!r}, takes "
            "a kernel of Python"
        )
    return notebook


def declared(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Name -> type of each parameter, None for a type that the cell does not tell."""
    import papermill

    kinds = {}
    for name, parameter in papermill.inspect_notebook(notebook).items():
        # An annotation, or else the type of the default where that is a literal.
        kind = getattr(builtins, parameter["inferred_type_name"], None)
        if not isinstance(kind, type):
            try:
                kind = type(ast.literal_eval(parameter["default"]))
            except (ValueError, SyntaxError):
                kind = None
        kinds[name] = None if kind is type(None) else kind
    return kinds


def defaults(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Name -> default of each parameter whose default is a literal."""
    import papermill

    found = {}
    for name, parameter in papermill.inspect_notebook(notebook).items():
        with contextlib.suppress(ValueError, SyntaxError):
            found[name] = ast.literal_eval(parameter["default"])
    return found


def _sign(draft: Path, source: Path, target: Path) -> None:
    """Name the chapter and the output in the notebook's metadata.

    papermill, given a notebook and not a path, stores all of it there as the input's "path".
    """
    import nbformat

    notebook = nbformat.read(draft, nbformat.NO_CONVERT)
    notebook.metadata["papermill"] |= {"input_path": source.name, "output_path": target.name}
    with draft.open("w", encoding="utf-8") as stream:
        nbformat.write(notebook, stream)
        # Or a machine that loses its power could keep the name and not what it names.
        stream.flush()
        os.fsync(stream.fileno())


def checked(values: Mapping[str, Any], kinds: Mapping[str, Any], chapter: str) -> dict[str, Any]:
    """`values`, of the types that `declared` found and such as JSON holds, or ChapterError.

    chapter: is for its text.
    """
    result = {}
    for name, value in values.items():
        if name not in kinds:
            exist = f"it has {', '.join(kinds)}" if kinds else "it has none"
            raise ChapterError(f"chapter {chapter!r} has no parameter {name!r}; {exist}")
        kind = kinds[name]
        if kind is float and type(value) is int:
            try:
                value = float(value)
            except OverflowError:
                raise ChapterError(
                    f"parameter {name!r} of chapter {chapter!r} takes float, got an integer that "
                    "is too large for one"
                ) from None
        # Exact types: to Python True is an int, to a reader `-p seed yes` is a mistake.
        if kind is not None and type(value) is not (list if kind is tuple else kind):
            raise ChapterError(
                f"parameter {name!r} of chapter {chapter!r} takes {kind.__name__}, "
                f"got {type(value).__name__} {value!r}"
            )
        if not is_plain(value):
            raise ChapterError(
                f"parameter {name!r} of chapter {chapter!r} takes finite numbers, text and lists, "
                f"got {value!r}"
            )
        result[name] = value
    return result


def is_plain(value: Any) -> bool:
    """Whether JSON can hold it, as UTF-8."""
    try:
        json.dumps(value, allow_nan=False, sort_keys=True, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True
