"""Generative supervision of pooling: the temporal weights of one modality predict those of the other."""
