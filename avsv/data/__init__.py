"""Datasets: from lists to clips to batches."""
