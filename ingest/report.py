"""What a sync says: how far it is, and what it did."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """What a sync did; filled as it goes, so that it holds after an interruption too."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)  # new path -> former path
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)  # path -> why it is not in the collection
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)  # path -> characters left out, by reason
    passages: int = 0  # new ones
    device: str | None = None  # what embedded them; None where nothing was embedded
    index: str = ""  # the kind of FAISS index
    problem: str | None = None  # why a watched folder could not be looked through

    @property
    def has_news(self) -> bool:
        """Whether anything came, went or moved."""
        return bool(self.added or self.changed or self.moved or self.removed)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is with the files that it has to read."""

    files: int
    all_files: int
    size: int  # bytes of the files that are stored or set aside, and the embedded share of those at hand
    all_size: int
    now: str  # what is at hand


OnProgress = Callable[[Progress], None]
