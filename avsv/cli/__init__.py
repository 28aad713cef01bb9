"""The program ``avsv``: what a person does with scores and trained systems outside a recipe."""
