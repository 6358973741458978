"""Scores of answers -> probabilities that they are right, also for sources that no training had."""
