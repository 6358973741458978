"""Outputs of a conversion: new columns of a table, or a lexicon."""
