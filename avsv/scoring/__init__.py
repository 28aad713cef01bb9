"""Scores of trials and what they are worth: cosine, normalisation, ensembles, calibration, metrics."""
