"""The benchmark of batches at its smallest: what its table holds."""

from benchmarks import rerun


def test_each_way_runs_the_cells_and_ours_keep_what_papermill_s_do():
    (table,) = rerun.run({"cells": 1})
    rows = {row["contender"]: row for row in table.rows}
    assert next(iter(rows)) == "papermill, one process"
    begun = rows["ours, 1 worker"]
    assert 0 < begun["start s"] < begun["wall s"]
    assert rows["ours, all done before"]["wall s"] < rows["ours, 2 workers"]["wall s"]
    assert str(table).count("|\n") > len(rows)
