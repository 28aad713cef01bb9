"""Paths of the project and of shared data next to it, which may not exist."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
