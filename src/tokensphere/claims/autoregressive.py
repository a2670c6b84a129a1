"""Claims of sections 3.2-3.3 and appendices B.2-B.3: autoregressive."""

from . import Claim

CLAIMS: list[Claim] = []
