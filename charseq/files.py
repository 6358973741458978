"""Files that are written whole or not at all: beside their place, synced, then renamed."""

from __future__ import annotations
