"""The equation, its limit in depth, the residual stream; and the head of appendix B."""
