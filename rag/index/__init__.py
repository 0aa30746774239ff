"""A collection on disk: a catalogue that is the truth, and two caches of it that can always be rebuilt."""

from rag.index.local import LocalIndex, open_catalog, open_index

__all__ = ["LocalIndex", "open_catalog", "open_index"]
