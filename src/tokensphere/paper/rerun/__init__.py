"""Many runs of chapters with other parameters, on the cores of a machine, its GPUs or a cluster.

`grid` says which cells a batch has, `cells` names each by what it is made from, `store` is the
truth on disk. `one` runs a cell in a process of its own, `worker` has Dask's workers start it, and
`batch` hands the cells out. `page` shows what a folder holds, `collect` gathers what cells kept.
Needs the extras `book` and `batch`.
"""

from tokensphere.paper import Refusal


class BadInput(Refusal):
    """What was asked for cannot be run or made, with what is wrong in one line."""
