"""Claims of section 3.1 and appendix B.1: stability."""

from . import Claim

CLAIMS: list[Claim] = []
