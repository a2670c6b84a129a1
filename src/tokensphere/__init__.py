"""Token dynamics in deep Mamba models: simulate them, predict their limits, check what is claimed.

Modules are imported by name (``from tokensphere import flow, s6``); importing the package itself
loads none of them.
"""
