"""The training loop: distributed and mixed-precision steps, schedules, checkpoints, logging."""
