"""One thin command per step. Arguments are parsed only here."""
