"""Corruptions of the audio and video of test utterances, applied at evaluation time."""
