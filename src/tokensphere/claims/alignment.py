"""Claims of section 3.1 and appendix B.1: alignment."""

from . import Claim

CLAIMS: list[Claim] = []
