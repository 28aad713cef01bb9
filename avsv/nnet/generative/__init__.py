"""Generative supervision of poolings: the temporal weights of one modality predict those of the other."""
