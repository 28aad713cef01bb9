"""One thin command per step; the only place that parses arguments."""
