"""Prompt-lookup drafts: the n-grams of what was read propose how the text goes on, and the model only has to verify.

Answers copy from passages, and n-grams were the first language models. A draft changes nothing but the speed: a token
is drawn from the model's own distribution, and a proposal only saves the wait for it where it is the one drawn. (Saxena
2023, "Prompt Lookup Decoding"; for a proposal of one token the rule of Leviathan et al. 2023 is just that.)

Knows token ids; the model is for `generation`.
"""

from collections.abc import Sequence

_LONGEST = 4  # tokens of context that are looked up
# How probable a proposal is before anything is known of this answer, by the tokens of context that agree; each counts
# as so many observations.
_BELIEFS = {1: 0.2, 2: 0.5, 3: 0.7, 4: 0.85}
_PRIOR = 4.0
_LENGTHS = (1, 2, 4, 7, 15)


class PromptLookup:
    """Proposals for one text, which grows. It learns from what became of them how many tokens are worth it."""

    def __init__(self, token_ids: Sequence[int], cost: float) -> None:
        """Begin with the prompt. `cost` is what one more token in a step costs, as a share of a step with one."""
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # n-gram -> the last place after it
        self._cost = cost
        self._kept = {n: _PRIOR * belief for n, belief in _BELIEFS.items()}
        self._tried = dict.fromkeys(_BELIEFS, _PRIOR)
        self._context = 0  # tokens that agreed at the last proposal; 0 where there was none
        self.extend(token_ids)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Take in what was read or written."""
        for token_id in token_ids:
            for n in range(1, min(_LONGEST, len(self._ids)) + 1):
                self._after[tuple(self._ids[-n:])] = len(self._ids)
            self._ids.append(token_id)

    def propose(self, room: int) -> list[int]:
        """Up to `room` tokens that may come next: as many as pay, often none."""
        for n in range(min(_LONGEST, len(self._ids)), 0, -1):
            at = self._after.get(tuple(self._ids[-n:]))
            if at is not None:
                length = min(self._best_length(self._kept[n] / self._tried[n]), room)
                self._context = n if length > 0 else 0
                return self._ids[at : at + max(length, 0)]
        return []

    def learn(self, proposed: int, kept: int) -> None:
        """How many of the last proposal's tokens were drawn."""
        if self._context:
            self._kept[self._context] += kept
            self._tried[self._context] += min(kept + 1, proposed)
            self._context = 0

    def _best_length(self, belief: float) -> int:
        """The length with the most expected tokens for its time; 0 where none beats a plain step."""

        def speed(length: int) -> float:
            return sum(belief**i for i in range(length + 1)) / (1 + self._cost * length)

        best = max(_LENGTHS, key=speed)
        return best if speed(best) > 1.02 else 0
