"""Where the project is, and the shared data beside it, which not every machine has."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
