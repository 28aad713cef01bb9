"""Corruptions of what a test side hears and sees, at evaluation time."""
