"""Analysis of embeddings and networks: geometry, attention, cost, hard samples."""
