"""Fusion of an audio and a visual embedding into one."""
