"""Texts -> symbols -> ids, and the alignment of pairs."""
