"""A search over settings: ranges, trials, reports."""
