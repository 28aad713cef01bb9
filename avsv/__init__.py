"""Audio-visual person verification: features, networks, training, scoring and analysis."""
