"""Claims of section 3.2 and appendix B.2: Propositions 3.6, B.9 and B.15, Lemma B.14.

`displays`: inequalities at one time, before an adversary. `runs`: what holds along trajectories.
In both one check takes the name of an inequality, a function beside it.
`starts`: single starts, and families of them. `steps`: equalities and lemmas of the proofs.
"""
