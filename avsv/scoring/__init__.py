"""Scores of trials and what they are worth: cosine, normalization, ensembles, calibration, metrics."""
