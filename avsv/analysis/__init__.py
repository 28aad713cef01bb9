"""What scores and embeddings tell: result tables, geometry of embeddings, plots."""
