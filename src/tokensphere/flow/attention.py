"""Softmax attention as token dynamics, full or causal, without an L x L matrix."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import pad, scaled_dot_product_attention

from .checks import check_square, check_tensor, check_tokens
from .fields import OnSphere, Parameter, _at, project

BLOCK = 2**20
"""Scores that are in memory at once where the fused kernel is not taken: 8 MiB."""


def attention_flow(
    Q: Parameter,
    K: Parameter,
    V: Parameter | None = None,
    *,
    causal: bool,
    softmax: bool = True,
    heads: bool = False,
) -> "AttentionFlow":
    """The flow of self-attention on the product of spheres, dx_l/dt = P_{x_l}(y_l) with

        y_l = sum_j w_lj V x_j,    w_lj = exp <Q x_l, K x_j> / sum_k exp <Q x_l, K x_k>,

    sums over all tokens, or over those up to l if causal.

    One evaluation costs O(L^2 D) time and, on a CPU, O(L D) memory, its gradient too: torch's
    fused attention, which has a kernel for float64 there. On other devices, for second derivatives,
    in forward mode, under the transforms of torch.func and in torch.compile, plain torch takes its
    place, for a block of queries at a time: the same memory but for the block's scores where no
    gradient is asked for, and O(L^2) where one is.

    Args:
        Q, K: (..., M, D), queries and keys; or functions of t that return such.
        V: (..., D, D), values; or a function of t. The identity if None.
        causal: whether token l sees the tokens j <= l alone.
        softmax: if False, w_lj = exp <Q x_l, K x_j> / L. Scores above 700 overflow.
        heads: if True, parameters have one more dimension for H heads, Q and K (..., H, M, D) and
            V (..., H, D, D), and y_l is the sum over the heads. An output matrix O_h is absorbed
            in V as O_h V_h.

    Raises:
        ValueError: a wrong shape, dtype or non-finite value; the message names the argument.
            Constant parameters are checked at once, functions of t at each call.

    Systems of the literature, and programs that simulate them:

        Geshkovski, Letrouit, Polyanskiy, Rigollet, A mathematical perspective on transformers,
        arXiv 2312.10794; github.com/borjanG/2023-transformers-rotf.
            (SA), inverse temperature beta:   Q = beta I, K = I, causal=False
            (USA):                            Q = beta I, K = I, causal=False, softmax=False
            sphere.py, its A and V:           Q = beta A, K = A, V
            phase-diagrams.py, its BF and V:  Q = beta I, K = BF, V.mT (its tokens are rows times V)
        Karagodin, Ge, Polyanskiy, Rigollet, Normalization in attention dynamics, arXiv 2510.22026,
        its Post-LN; github.com/nikitus20/simuformer, its H heads BF_h, V_h:
            --norm postln:    Q = beta I, K = BF_h, V = V_h.mT / H, heads=True
            --no_softmax:     softmax=False, V = L V_h.mT / H
            --sequential:     causal=True
        Karagodin, Polyanskiy, Rigollet, Clustering in causal attention masking, arXiv 2411.04990:
            Q, K and V, causal=True

    What these programs iterate, x <- unit(x + h y), is :func:`tokensphere.flow.layers` of this
    field with times h apart: forward Euler. Pre-LN is
    :func:`tokensphere.flow.simulate_residual_stream` of it. Peri-LN and nGPT, which normalise the
    layer's output, and tokens that are not on a sphere (arXiv 2305.05465) are not instances.
    """
    return AttentionFlow(Q, K, V, causal, softmax, heads)


@dataclass(frozen=True, eq=False)
class AttentionFlow(OnSphere):
    """What :func:`attention_flow` returns; arguments, shapes and errors are documented there."""

    Q: Parameter
    K: Parameter
    V: Parameter | None
    causal: bool
    softmax: bool
    heads: bool

    def __post_init__(self) -> None:
        for name in ("causal", "softmax", "heads"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"{name}: got {value!r}, takes True or False")
        self._check(*(None if callable(v) else v for v in (self.Q, self.K, self.V)))

    def layer(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """y_l = sum_j w_lj V x_j, (..., L, D)."""
        parameters = self._parameters(t)
        check_tokens(x, parameters[0].shape[-1], 2)
        return self._layer(x, *parameters)

    def unchecked(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        return project(x, self._layer(x, *self._parameters(t)))

    def attention(self, x: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """w_lj, (..., L, L), or (..., H, L, L): query l, key j; zero for j > l if causal."""
        Q, K, _ = self._parameters(t)
        check_tokens(x, Q.shape[-1], 2)
        x = x.unsqueeze(-3) if self.heads else x
        scores = x @ (Q.mT @ K) @ x.mT
        if self.causal:
            scores = _without_later(scores, 0)
        return scores.softmax(-1) if self.softmax else scores.exp() / x.shape[-2]

    def _parameters(self, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor | None]:
        Q, K, V = (_at(parameter, t) for parameter in (self.Q, self.K, self.V))
        if callable(self.Q) or callable(self.K) or callable(self.V):
            self._check(Q, K, V)
        return Q, K, V

    def _check(self, Q: Tensor | None, K: Tensor | None, V: Tensor | None) -> None:
        """Those that are not None, alone and together."""
        least = 3 if self.heads else 2
        for name, value in (("Q", Q), ("K", K)):
            if value is not None:
                check_tensor(name, value, least)
        if V is not None:
            check_square("V", V)
            check_tensor("V", V, least)
        if Q is not None and K is not None and Q.shape[-least:] != K.shape[-least:]:
            raise ValueError(f"Q and K: shapes {tuple(Q.shape)} and {tuple(K.shape)} differ")
        for name, value in (("Q", Q), ("K", K)):
            if value is None or V is None:
                continue
            if value.shape[-1] != V.shape[-1] or value.shape[-least:-2] != V.shape[-least:-2]:
                shapes = tuple(V.shape), tuple(value.shape)
                raise ValueError(f"V: shape {shapes[0]} does not go with {name}'s, {shapes[1]}")

    def _layer(self, x: Tensor, Q: Tensor, K: Tensor, V: Tensor | None) -> Tensor:
        keys = x.unsqueeze(-3) if self.heads else x
        queries = keys @ (Q.mT @ K)
        if self.softmax:
            y = _attend(queries, keys, keys, self.causal)
        else:
            y = _attend_unnormalised(queries, keys, self.causal) / x.shape[-2]
        if V is not None:
            y = y @ V.mT
        return y.sum(-3) if self.heads else y


def _attend_unnormalised(queries: Tensor, keys: Tensor, causal: bool) -> Tensor:
    """sum_j exp <q_l, k_j> k_j, by a softmax with one more key.

    A key of score 0 before the others has the weight 1 / (1 + sum_j exp <q_l, k_j>), which a
    further component of the values, 1 for this key and 0 for the others, brings out. A query in
    front of the others lets all of them see it where attention is causal.
    """
    queries, keys = pad(queries, (0, 1, 1, 0)), pad(keys, (0, 1, 1, 0))
    first = torch.zeros_like(keys[..., 0])
    first[..., 0] = 1.0
    values = torch.cat((keys[..., :-1], first.unsqueeze(-1)), dim=-1)
    y = _attend(queries, keys, values, causal)[..., 1:, :]
    return y[..., :-1] / y[..., -1:]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
    """sum_j softmax_j <q_l, k_j> v_j, over j <= l if causal, for (..., L, D) each.

    The leading dimensions of keys and values broadcast to those of the queries.
    """
    # What follows the tokens or the parameters follows the queries, which are made of both.
    if queries.device.type != "cpu" or _is_followed(queries):
        return _in_blocks(queries, keys, values, causal)
    batch = queries.shape[:-2]
    # The fused kernel is taken for four dimensions alone.
    four = [
        z.expand(*batch, *z.shape[-2:]).reshape(-1, 1, *z.shape[-2:])
        for z in (queries, keys, values)
    ]
    return _Fused.apply(*four, causal).view(queries.shape)


def _is_followed(x: Tensor) -> bool:
    """Whether a compiler, torch.func or forward mode follow x: the kernel has no rules for them."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.is_functorch_wrapped_tensor(x)
        or forward_ad.unpack_dual(x).tangent is not None
    )


class _Fused(torch.autograd.Function):
    """The kernel, whose gradient torch does not differentiate again, with one that it does."""

    @staticmethod
    def forward(ctx, queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
        ctx.save_for_backward(queries, keys, values)
        ctx.causal = causal
        return scaled_dot_product_attention(queries, keys, values, is_causal=causal, scale=1.0)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[:3]
        again = torch.is_grad_enabled()
        inputs = list(zip(ctx.saved_tensors, needed, strict=True))
        with torch.enable_grad():
            if again:
                output = _in_blocks(*ctx.saved_tensors, ctx.causal)
            else:
                inputs = [(z.detach().requires_grad_(need), need) for z, need in inputs]
                each = (z for z, _ in inputs)
                output = scaled_dot_product_attention(*each, is_causal=ctx.causal, scale=1.0)
            wanted = [z for z, need in inputs if need]
            found = iter(torch.autograd.grad(output, wanted, gradient, create_graph=again))
        return *(next(found) if need else None for need in needed), None


def _in_blocks(queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
    """:func:`_attend` in plain torch, so many queries at once that their scores fill a BLOCK."""
    length = queries.shape[-2]
    sequences = math.prod(queries.shape[:-2])
    rows = max(1, BLOCK // (sequences * length))
    parts = []
    for start in range(0, length, rows):
        stop = min(start + rows, length)
        seen = stop if causal else length
        scores = queries[..., start:stop, :] @ keys[..., :seen, :].mT
        if causal:
            scores = _without_later(scores, start)
        parts.append(scores.softmax(-1) @ values[..., :seen, :])
    return torch.cat(parts, dim=-2)


def _without_later(scores: Tensor, start: int) -> Tensor:
    """Scores of the queries from `start` on, (..., rows, keys), -inf for keys after the query."""
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(start + 1)
    return scores.masked_fill(later, -math.inf)
