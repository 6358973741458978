"""File formats: rows in, rows out."""
