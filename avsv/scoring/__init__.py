"""Scoring of trials: cosine, normalization, ensembles, calibration, metrics."""
