"""The first token's scores as a table: one row a prompt and layer."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

__all__ = ["COLUMNS", "scores_csv"]

VARIANTS = ("absolute", "softmax", "raw")
COLUMNS = ("prompt", "line", "tokens", "layer", "name", "reverse", *VARIANTS)


def scores_csv(data: Mapping[str, Any]) -> str:
    """CSV with a header, COLUMNS: scores of the token that each layer reads first.

    prompt counts those given, from 1; line is empty where prompts came from no file; layer counts
    mixers from 0, and name is the model's own; reverse is 0, or 1 where the layer reads backward.

    Args:
        data: of `sinks.report.measure_model`.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, prompt in enumerate(data["prompts"]["each"]):
        about = (prompt["number"], prompt.get("line", ""), prompt["tokens"])
        for layer in data["layers"]:
            scores = (layer["first"][variant][place] for variant in VARIANTS)
            reverse = int(layer["reverse"])
            writer.writerow([*about, layer["index"], layer["name"], reverse, *scores])
    return stream.getvalue()
