"""Results of a run: computed once, written as tables and plots."""
