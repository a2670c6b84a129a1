"""Claims of section 3.1 and appendix B.1: equilibria."""

from . import Claim

CLAIMS: list[Claim] = []
