"""When a field on a CPU is computed in one compiled pass, and by how many threads.

The pass is :mod:`.cpu_kernels`, which needs numba; :mod:`.causal_sum` has the same sums in torch.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

Factors = tuple[Tensor, Tensor]

LARGEST = 3 * 2**16
"""Numbers of parameters and state, 1.5 MB, above which the pass is left to torch: it reads them
for each token, and the second cache holds 1 MB; torch's products of matrices read them once for
CHUNK tokens. Measured at D = N on an EPYC 9004: at 128 the pass takes 0.6 to 0.7 of torch's time,
at 192 0.7 to 0.9, at 256 0.95 to 1.1."""

SHARE = 2**16
"""Numbers of x, about a millisecond's, from which on a thread of their own pays."""


@cache
def _kernels():
    """None where numba is not installed. Imported when first wanted: it takes half a second."""
    try:
        from . import cpu_kernels
    except ImportError:
        return None
    return cpu_kernels


def plain(*tensors: Tensor) -> bool:
    """Whether these are float64 numbers on the CPU and nothing else: no gradient is asked of them,
    and no transform, tracer or compiler looks on."""
    if (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    ):
        return False
    graph = torch.is_grad_enabled()
    return all(
        type(each) in (Tensor, torch.nn.Parameter)
        and each.is_cpu
        and each.dtype is torch.float64
        and not (graph and each.requires_grad)
        for each in tensors
    )


def fused(
    x: Tensor, S_BC: Tensor | Factors, S_Delta: Tensor, a: Tensor | None, projected: bool
) -> Tensor | None:
    """The layer at unit tokens x, or the field: what is left without the part along x.

    S_BC: (..., D, D) or two factors (..., N, D); S_Delta: (..., D, G), a: (..., G), with G = D or
    1; a = None makes each row of x a sequence of its own. None where torch has to do it.
    """
    parameters = _tensors(S_BC, S_Delta, a)
    if not plain(x, *parameters):
        return None
    apply = _pass(S_BC, S_Delta, a, x.shape, False, projected)
    if apply is None:
        return None
    out = torch.empty(x.shape, dtype=torch.float64, device="cpu")
    apply(np.ascontiguousarray(x.numpy(force=True)), out.numpy())
    return out


def numpy_field(
    S_BC: Tensor | Factors, S_Delta: Tensor, a: Tensor | None, shape: tuple[int, ...]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """x -> the field at x/|x| for arrays of one shape; None where there is none."""
    parameters = _tensors(S_BC, S_Delta, a)
    if not plain(*parameters):
        return None
    own = [each.clone() for each in parameters]
    S_BC = (own[0], own[1]) if isinstance(S_BC, tuple) else own[0]
    S_Delta, a = (own[-1], None) if a is None else (own[-2], own[-1])
    apply = _pass(S_BC, S_Delta, a, shape, True, True)
    if apply is None:
        return None

    def field(x: np.ndarray) -> np.ndarray:
        if x.shape != shape:  # the compiled loops would run past its end
            raise ValueError(f"x: shape {x.shape}, takes {shape}")
        out = np.empty(shape)
        apply(x, out)
        return out

    return field


def _pass(
    S_BC, S_Delta, a, shape, normalised: bool, projected: bool
) -> Callable[[np.ndarray, np.ndarray], None] | None:
    """(x, out) -> None, which fills out; None where torch has to do it."""
    kernels = _kernels()
    arrays = _arrays(S_BC, S_Delta, a, shape)
    if kernels is None or arrays is None:
        return None
    *parameters, which = arrays
    dim, sequences = shape[-1], len(which)
    length = 1 if a is None else shape[-2]
    # Few channels leave lanes of the vector registers idle; many sequences can fill them.
    many = dim < kernels.LANES <= sequences
    kernel = kernels.across if many else kernels.fused

    def apply(x: np.ndarray, out: np.ndarray) -> None:
        x, out = x.reshape(-1, dim), out.reshape(-1, dim)
        threads = min(torch.get_num_threads(), sequences, x.size // SHARE)
        if threads < 2:
            kernel(x, length, *parameters, which, out, normalised, projected)
            return
        # Pools do not outlive a call: a forked process would inherit one without its threads.
        with ThreadPoolExecutor(threads) as pool:
            cuts = [sequences * part // threads for part in range(threads + 1)]
            for done in [
                pool.submit(
                    kernel,
                    x[first * length : last * length],
                    length,
                    *parameters,
                    which[first:last],
                    out[first * length : last * length],
                    normalised,
                    projected,
                )
                for first, last in pairwise(cuts)
            ]:
                done.result()

    return apply


def _tensors(S_BC, S_Delta, a) -> list[Tensor]:
    factors = S_BC if isinstance(S_BC, tuple) else (S_BC,)
    return [*factors, S_Delta] if a is None else [*factors, S_Delta, a]


def _arrays(S_BC, S_Delta, a, shape) -> tuple[np.ndarray, ...] | None:
    """The pass's parameters, and which of them belong to each sequence of x. None where shapes do
    not go together, or parameters have a batch that x lacks: torch broadcasts, or says what is
    wrong."""
    S_C, S_B = S_BC if isinstance(S_BC, tuple) else (None, S_BC)
    dim, groups = S_Delta.shape[-2:]
    if (
        shape[-1] != dim
        or S_B.shape[-1] != dim
        or groups not in (1, dim)
        or (S_C is None and S_B.shape[-2] != dim)
        or (S_C is not None and S_C.shape != S_B.shape)
        or (a is not None and a.shape[-1] != groups)
        or 0 in shape
        or dim * (groups + 3 * S_B.shape[-2]) > LARGEST
    ):
        return None
    sequences = shape[:-1] if a is None else shape[:-2]
    batches = [S_B.shape[:-2], S_Delta.shape[:-2], () if a is None else a.shape[:-1]]
    if a is None:
        batches = [(*batch, 1) if batch else () for batch in batches]
    if any(len(batch) > len(sequences) for batch in batches):
        return None
    which = np.zeros((*sequences, 3), dtype=np.int64)
    for column, batch in enumerate(batches):
        if batch:
            entries = np.arange(np.prod(batch)).reshape(batch)
            try:
                which[..., column] = entries
            except ValueError:
                return None
    return (
        np.empty((0, 0, 0)) if S_C is None else _flat(S_C, 2),
        _flat(S_B, 2),
        _flat(S_Delta, 2),
        np.empty((0, 0)) if a is None else _flat(a, 1),
        which.reshape(-1, 3),
    )


def _flat(parameter: Tensor, ndim: int) -> np.ndarray:
    array = np.ascontiguousarray(parameter.numpy(force=True))
    return array.reshape(-1, *array.shape[-ndim:])
