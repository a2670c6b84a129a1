"""Values that a chapter keeps for `tokensphere collect`.

    from tokensphere.paper.rerun.kept import keep
    keep("rate", rate)

An output of the cell holds the value, in the format of scrapbook 0.5, which papermill's authors
made for this and which no longer imports beside present libraries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MIMETYPE = "application/scrapbook.scrap.json+json"


def keep(name: str, value: Any) -> None:
    """Show `name: value`, and have it found in the executed notebook.

    value: what JSON holds; arrays, tensors and their scalars become lists and numbers.

    Raises ValueError for a value that JSON cannot hold, NaN and infinity among them.
    """
    from IPython.display import display

    plain = value.tolist() if hasattr(value, "tolist") else value
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: got {value!r}, takes finite numbers, text, lists") from error
    scrap = {"name": name, "data": plain, "encoder": "json", "version": 1}
    display(
        {MIMETYPE: scrap, "text/plain": f"{name}: {plain}"},
        metadata={"scrapbook": {"name": name, "data": True, "display": False}},
        raw=True,
    )


def kept(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> value of all that an executed notebook keeps; of a name kept twice, the last."""
    scraps = (
        output.get("data", {}).get(MIMETYPE)
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
    )
    # Others that a chapter displays by hand, without a name or value, are none of ours.
    return {
        scrap["name"]: scrap["data"]
        for scrap in scraps
        if isinstance(scrap, dict) and isinstance(scrap.get("name"), str) and "data" in scrap
    }
