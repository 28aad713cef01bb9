"""Lists to embedding archives."""
