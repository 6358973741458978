"""Trained runs on data -> scores, intervals, error analysis."""
