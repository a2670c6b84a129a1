"""Checks of the chapter on reordered training: its premises, its flow, its tables."""
