"""What the ledger's statements are checked by: named functions, in modules of the chapters' paths.

Only the ledger imports them. What a paper prints wrongly stands here, in the check that refutes it;
what we stand by stands in the library.
"""
