"""Commands that carry a model to other programs."""
