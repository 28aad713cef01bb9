"""Audio-visual systems: configuration, construction, saving and loading."""
