"""Section 4.1 and appendix C.1: eqs (33)-(36), Figures 2 and 3, and what they are said to show.

No check runs Falcon-Mamba-7B: they test what the measures mean, on attention that is known and on
the records of two smaller models.
"""
