"""Training: distributed and mixed-precision steps, schedules, checkpoints, logging."""
