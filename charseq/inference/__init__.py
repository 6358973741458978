"""A run in use: loading, prediction, conversion of files."""
