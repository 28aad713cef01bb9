"""One folder that holds a trained system; recordings to scores and decisions; people enrolled and identified."""
