"""A configuration becomes one trainable audio-visual system."""
