"""Visual backbones: (batch, time, channel, height, width) to one embedding per clip."""
