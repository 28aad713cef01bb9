"""Waveforms to features: decoding, windowed reads, log-mel filterbanks, noise, reverberation, SpecAugment."""
