"""Data directories: which lists there are, checking, mending, splitting, combining and selecting. Imports no torch."""
