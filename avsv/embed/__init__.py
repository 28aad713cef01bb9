"""Embedding of whole utterances, and merging the results of jobs."""
