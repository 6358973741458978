"""Texts that commands are given."""
