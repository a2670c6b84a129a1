"""Claims of the earlier paper on the line: how fast tokens decay, grow slowly, and blow up."""
