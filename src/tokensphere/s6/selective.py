"""The layer as models call it: with all that mamba-ssm's ``selective_scan_fn`` takes, and more."""

import math

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from tokensphere.door import flag, optional, takes, tensor

from .arguments import check_resets, extremes, wide
from .recurrence import recur


@takes(
    u=tensor("...", finite=False, alike=False),
    delta=tensor("...", finite=False, alike=False),
    A=tensor("...", kinds="fc", finite=False, alike=False),
    B=tensor("...", kinds="fc", finite=False, alike=False),
    C=tensor("...", kinds="fc", finite=False, alike=False),
    D=optional(tensor("...", finite=False, alike=False)),
    z=optional(tensor("...", finite=False, alike=False)),
    delta_bias=optional(tensor("...", finite=False, alike=False)),
    delta_softplus=flag(),
    initial_state=optional(tensor("...", kinds="fc", finite=False, alike=False)),
    return_last_state=flag(),
    resets=optional(tensor("B", "L", kinds="b", alike=False)),
)
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    resets: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The S6 layer of a model, with its bias, skip and gate. With the steps

        s_l = delta_l + delta_bias,  or  softplus(delta_l + delta_bias),

    channel d is ``h_l = exp(s_l A_d) h_{l-1} + s_l u_l B_l``, where a reset makes h_{l-1} zero, and

        y_l = (Re <C_l, h_l> + D u_l) silu(z_l),

    with ``2 Re`` in place of ``Re`` where A is complex: a state then stands for itself and its
    conjugate. The bracket is the plain sum of C_{l,n} h_{l,n}, nothing is conjugated.

    Arguments and results are those of ``selective_scan_fn`` in mamba-ssm, whose ``cu_seqlens`` are
    ``resets`` here; ``initial_state`` is ours. It differs in three ways: it is computed in float32
    at least, inputs in half precision included, and in float64 where all inputs have it; it refuses
    what is not finite, negative steps and rates that are not negative; and gradients flow through
    the last state, too.

    Args:
        u: input, (B, D, L).
        delta: steps, (B, D, L); not negative once bias and softplus are applied.
        A: rates, (D, N), real or complex, with a negative real part.
        B, C: input and output vectors: (D, N) for those that no token changes, (B, N, L), or
            (B, G, N, L), where G divides D. Where A is complex, they are complex; or they are real
            and, but for (D, N), have length 2 L with real and imaginary parts in turns. Constant
            ones take O(B D N L) memory.
        D: weight of the skip connection, (D,).
        z: gate, (B, D, L).
        delta_bias: (D,).
        delta_softplus: whether softplus makes the steps positive.
        initial_state: h_0, (B, D, N); zeros by default.
        return_last_state: whether to return h_L as well.
        resets: bool, (B, L): True at the first token of a document, which starts from h = 0. At the
            first token of all it leaves ``initial_state`` unread.

    Returns:
        y, (B, D, L), in the dtype of u. With `return_last_state` (y, h_L), with h_L (B, D, N) in
        float32 at least, complex as A.

    Raises:
        ValueError: a shape, dtype, sign or non-finite value; the message names the argument.
    """
    _check_shapes(u, delta, A, B, C)
    batch, channels, length = delta.shape
    others = {
        "D": (D, (channels,), "(D,)"),
        "z": (z, (batch, channels, length), "(B, D, L)"),
        "delta_bias": (delta_bias, (channels,), "(D,)"),
        "initial_state": (initial_state, (batch, *A.shape), "(B, D, N)"),
    }
    for name, (value, shape, letters) in others.items():
        if value is not None:
            _check_shape(name, value, shape, letters)
    check_resets(resets, delta)
    given = {name: value for name, (value, *_) in others.items() if value is not None}
    _check_values({"u": u, "delta": delta, "A": A, "B": B, "C": C, **given}, delta)

    steps, D, z = (None if value is None else wide(value) for value in (delta, D, z))
    if delta_bias is not None:
        steps = steps + wide(delta_bias).unsqueeze(-1)
    if delta_softplus:
        steps = softplus(steps)
    name = "delta" if delta_bias is None else "delta + delta_bias"
    if extremes({name: steps}, delta)[name][0] < 0:
        raise ValueError(f"{name}: holds a negative step; is it meant for delta_softplus=True?")
    B, C = _vectors(B, C, A, delta)
    y, last_state = recur(u, steps, A, B, C, initial_state, resets)
    if D is not None:
        y = y + D.unsqueeze(-1) * u
    if z is not None:
        y = y * silu(z)
    y = y.to(u.dtype)
    return (y, last_state) if return_last_state else y


def _vectors(B: Tensor, C: Tensor, A: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """As `recur` takes them: (B, G, N, L) both, complex where A is."""
    by_group = []
    for value in (B, C):
        value = wide(value)
        if value.ndim == 2:
            value = value.expand(len(delta), *value.shape).unsqueeze(-1)
            value = value.expand(*value.shape[:-1], delta.shape[-1])
        elif A.is_complex() and not value.is_complex():
            value = torch.view_as_complex(value.unflatten(-1, (-1, 2)).contiguous())
        if value.ndim == 3:
            value = value.unsqueeze(1)
        by_group.append(value)
    groups = math.lcm(*(value.shape[1] for value in by_group))
    for i, value in enumerate(by_group):
        times = groups // value.shape[1]
        by_group[i] = value.unsqueeze(2).expand(-1, -1, times, -1, -1).flatten(1, 2)
    return tuple(by_group)


def _check_shapes(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    for name, value in {"u": u, "delta": delta, "A": A, "B": B, "C": C}.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if delta.ndim != 3 or 0 in delta.shape:
        raise ValueError(f"delta: shape {tuple(delta.shape)}, takes (B, D, L), none of them 0")
    batch, channels, length = delta.shape
    _check_shape("u", u, (batch, channels, length), "(B, D, L)")
    if A.ndim != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise ValueError(f"A: shape {tuple(A.shape)}, takes (D, N) with D = {channels} as in delta")
    states = A.shape[1]
    for name, value in {"B": B, "C": C}.items():
        if value.ndim == 2:
            _check_shape(name, value, (channels, states), "(D, N)")
            continue
        parted = A.is_complex() and not value.is_complex()
        last = 2 * length if parted else length
        if value.ndim not in (3, 4) or (value.shape[0], *value.shape[-2:]) != (batch, states, last):
            shown = "(B, N, 2 L)" if parted else "(B, N, L)"
            parts = ", real and imaginary parts in turns" if parted else ""
            raise ValueError(
                f"{name}: shape {tuple(value.shape)}, takes {shown} = {(batch, states, last)}"
                f"{parts}, the same with (B, G, ...), or (D, N) = {(channels, states)}"
            )
        if value.ndim == 4 and (value.shape[1] == 0 or channels % value.shape[1]):
            raise ValueError(
                f"{name}: {value.shape[1]} groups, which do not divide the {channels} channels"
            )


def _check_shape(name: str, value: Tensor, shape: tuple[int, ...], letters: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if value.shape != shape:
        raise ValueError(f"{name}: shape {tuple(value.shape)}, takes {letters} = {shape}")


def _check_values(values: dict[str, Tensor], delta: Tensor) -> None:
    for name, value in values.items():
        if not value.is_complex():
            continue
        if name not in ("A", "B", "C", "initial_state"):
            raise ValueError(f"{name}: dtype {value.dtype}, takes a real floating point tensor")
        if not values["A"].is_complex():
            raise ValueError(f"{name}: dtype {value.dtype}, but A is real, {values['A'].dtype}")
        if value.dtype == torch.complex32:
            raise ValueError(f"{name}: dtype {value.dtype}, takes complex64 or complex128")
    numbers = {
        name: torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        for name, value in values.items()
    }
    extremes(numbers, delta)
    A = values["A"].detach().real
    if float(A.max()) >= 0:
        part = "real part of a rate" if values["A"].is_complex() else "rate"
        raise ValueError(f"A: holds a {part} that is not negative; pass -exp(A_log)")
