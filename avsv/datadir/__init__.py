"""Data directories: their lists; validating, fixing, splitting, combining, subsets. Does not import torch."""
