"""Results of a run, computed once and written as tables and plots."""
