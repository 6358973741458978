"""The run folder: its files, weights and training state."""
