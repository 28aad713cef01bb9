"""Audio backbones: (batch, time, feature) to one embedding an utterance."""
