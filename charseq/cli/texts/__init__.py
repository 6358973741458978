"""Texts of the command line beyond single answers."""
