"""The S6 layer: its recurrence, its hidden attention, and that attention's column sums.

- :func:`steps`: the steps, from what their projection gave and its bias;
- :func:`scan`: the output, from tokens, steps, A, B and C;
- :func:`selective_scan`: the same with what else models have: complex or constant parameters, bias,
  softplus, skip, gate, states in and out, packed documents;
- :func:`hidden_attention`: the matrices that take tokens to output; :func:`attention_rows`: their
  rows, one at a time;
- :func:`column_sums`: the sums of their columns, without the matrices.

Tensors have mamba-ssm's layout: ``u, delta: (B, D, L)`` (batch, channels, tokens),
``A: (D, N)`` negative, ``B, C: (B, N, L)`` (N states). With G groups, B and C are (B, G, N, L), and
channels ``D g / G`` up to ``D (g + 1) / G`` read group g. For channel d the layer is

    h_l = exp(delta_l A_d) * h_{l-1} + delta_l u_l B_l,    h_0 = 0,    y_l = <C_l, h_l>,

which is eqs (1)-(2) of the paper with ``A[d, n] = -a_d`` for every state n. Eliminating h gives
``y_l = sum_{j <= l} M[l, j] u_j`` with the hidden attention

    M[l, j] = delta_j sum_n C_{l,n} B_{j,n} exp(A_{d,n} sum_{k=j+1}^{l} delta_k),

which is eqs (4)-(5). All functions multiply decays or add up steps away from one token; none
divides by a decay or subtracts two cumulated sums, so they stay exact when steps are tiny or huge.
Inputs in half precision are computed in float32; the result has the dtype of ``delta``, that of
:func:`selective_scan` the one of ``u``.
"""

from .attention import attention_rows, hidden_attention
from .recurrence import column_sums, scan, steps
from .selective import selective_scan

__all__ = ["attention_rows", "column_sums", "hidden_attention", "scan", "selective_scan", "steps"]
