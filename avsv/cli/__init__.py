"""The program ``avsv``, for using scores and trained systems outside a recipe."""
