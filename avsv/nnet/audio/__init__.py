"""Audio backbones: (batch, time, feature) to one embedding per utterance."""
