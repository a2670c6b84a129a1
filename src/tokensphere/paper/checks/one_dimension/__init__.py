"""Checks of the part on tokens that are numbers."""
