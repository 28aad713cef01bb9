"""Lists to clips to batches: datasets, sampling, collation."""
