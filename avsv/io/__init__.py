"""Lists, trials and arks: checked reading, atomic writing, windowed reads. Imports no torch."""
