"""Question -> passages, best first.

    nearest vectors + best-matching words -> fuse -> drop near-copies -> (re-rank) -> (join neighbours)

Knows an open index, a function that embeds a question and one that re-ranks; how they came to be is for others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from rag.errors import InputError
from rag.index import LocalIndex
from rag.near_copies import Words, compare
from rag.schema import Filter, Passage, RetrievedPassage

CANDIDATES = 100  # of each kind
DENSE_WEIGHT = 0.53
RERANKED = 20
EVERYTHING = Filter()
Mode = Literal["hybrid", "dense", "lexical"]
MODES: tuple[Mode, ...] = get_args(Mode)
EmbedQuestion = Callable[[str], npt.NDArray[np.float32]]  # -> a unit vector (dimension,)
Score = Callable[[str, Sequence[str]], Sequence[float]]  # (question, n texts) -> n scores, higher is better


@dataclass(frozen=True, slots=True)
class Reranker:
    """A second, slower judge of a question and each passage."""

    name: str  # what its score is
    score: Score
    weight: float | None = None  # beside the fused score, of its own between the lowest and the highest; None is alone


@dataclass(slots=True)
class _Scores:
    """The candidates' scores by passage id, as far as a stage saw them."""

    dense: dict[int, float]
    lexical: dict[int, float]

    def fused(self, mode: Mode) -> dict[int, float]:
        """A convex combination (Bruch et al. 2023, "An Analysis of Fusion Functions for Hybrid Retrieval").

        0.53 max(cosine, 0) + 0.47 BM25 / highest BM25. Unlike reciprocal ranks it keeps how sure each side is, so an
        English embedder does not spoil what words find in Chinese.
        """
        weight = {"hybrid": DENSE_WEIGHT, "dense": 1.0, "lexical": 0.0}[mode]
        highest = max(self.lexical.values(), default=0.0) or 1.0
        return {
            i: weight * max(self.dense.get(i, 0.0), 0.0) + (1 - weight) * self.lexical.get(i, 0.0) / highest
            for i in self.dense | self.lexical
        }


def retrieve(
    index: LocalIndex,
    embed: EmbedQuestion,
    question: str,
    k: int,
    keep: Filter = EVERYTHING,
    mode: Mode = "hybrid",
    reranker: Reranker | None = None,
    join: bool = False,
) -> list[RetrievedPassage]:
    """The k passages that suit a question best, among those that a filter keeps, without near-copies.

    `reranker` puts the best 20 in its own order. `join` makes one of those of the k that are neighbours in their
    document. Raises `InputError` for an empty question.
    """
    check_question(question)
    vector = None if mode == "lexical" else embed(question)
    with index.reading():
        allowed = index.matching(keep)
        wanted = max(k, RERANKED) if reranker else k
        candidates = CANDIDATES
        while True:
            scores = _search(index, question, vector, mode, candidates, allowed)
            found = _distinct(index, scores, mode, wanted)
            if len(found) >= wanted or len(scores.dense | scores.lexical) < candidates:
                break
            candidates *= 8  # there were too many near-copies
        if reranker:
            found = _reranked(found, question, reranker)
        found = found[:k]
        if join:
            found = _joined(index, found)
    return [replace(passage, rank=rank) for rank, passage in enumerate(found, start=1)]


def check_question(question: str) -> None:
    """Raise `InputError` for a question that is empty or no valid text."""
    if not question.strip():
        raise InputError("The question is empty; ask something.")
    if any("\ud800" <= character <= "\udfff" for character in question):
        raise InputError("The question is not valid text; type it in the terminal's own encoding.")


def _search(
    index: LocalIndex,
    question: str,
    vector: npt.NDArray[np.float32] | None,
    mode: Mode,
    candidates: int,
    allowed: npt.NDArray[np.int64] | None,
) -> _Scores:
    lexical = {} if mode == "dense" else dict(index.search_lexical(question, candidates, allowed))
    if vector is None:
        return _Scores({}, lexical)
    dense = dict(index.search_dense(vector, candidates, allowed))
    return _Scores(dense | index.similarities(vector, [i for i in lexical if i not in dense]), lexical)


def _distinct(index: LocalIndex, scores: _Scores, mode: Mode, wanted: int) -> list[RetrievedPassage]:
    """The best candidates without near-copies of better ones, some more than wanted; versions are marked."""
    fused = scores.fused(mode)
    best = sorted(fused, key=lambda i: (-fused[i], i))
    found: list[RetrievedPassage] = []
    words: list[Words] = []
    versions: list[set[int]] = []  # positions in `found` of passages that are versions of each other
    enough = 2 * wanted + 10  # a version just behind the wanted ones is looked for too
    for start in range(0, len(best), enough):
        if len(found) >= wanted:
            break
        stored = index.passages(best[start : start + enough])
        for i in (i for i in best[start : start + enough] if i in stored):
            passage = stored[i]
            own = Words(passage.text)
            relations = [compare(other, own) for other in words]
            if "copy" in relations:
                original = relations.index("copy")
                copies = found[original].copies
                if passage.source not in (*copies, found[original].passage.source):
                    found[original] = replace(found[original], copies=(*copies, passage.source))
                continue
            versions = _grouped(versions, {len(found), *(n for n, r in enumerate(relations) if r == "version")})
            words.append(own)
            found.append(RetrievedPassage(passage, 0, fused[i], scores.dense.get(i), scores.lexical.get(i)))
    for group in versions:
        _mark(found, group)
    return found


def _grouped(groups: list[set[int]], new: set[int]) -> list[set[int]]:
    """Disjoint groups with one more, which unites those that it touches."""
    apart = [group for group in groups if not group & new]
    return [*apart, new.union(*(group for group in groups if group & new))]


def _mark(found: list[RetrievedPassage], group: set[int]) -> None:
    """Say which version is the newest, where the documents are of several days."""
    days = {found[n].passage.date or "" for n in group}
    for n in group if len(days) > 1 else ():
        found[n] = replace(found[n], newest=(found[n].passage.date or "") == max(days))


def _reranked(found: list[RetrievedPassage], question: str, reranker: Reranker) -> list[RetrievedPassage]:
    """The best ones in the order of the second judge, before all others."""
    best, rest = found[:RERANKED], found[RERANKED:]
    scores = np.array(reranker.score(question, [p.passage.text for p in best]), dtype=np.float64)
    order = scores
    if reranker.weight is not None and best:
        spread = float(np.ptp(scores)) or 1.0
        order = np.array([p.fused for p in best]) + reranker.weight * (scores - scores.min()) / spread
    judged = [replace(p, rerank=float(s), reranked_by=reranker.name) for p, s in zip(best, scores, strict=True)]
    return [judged[i] for i in np.argsort(-order, kind="stable")] + rest


def _joined(index: LocalIndex, found: list[RetrievedPassage]) -> list[RetrievedPassage]:
    """Passages that touch or overlap in their document as one, in the place of the best of them."""
    runs: list[list[RetrievedPassage]] = []
    for passage in sorted(found, key=lambda p: (p.passage.document_id, p.passage.start)):
        if runs and _touch(index, runs[-1][-1].passage, passage.passage):
            runs[-1].append(passage)
        else:
            runs.append([passage])
    order = {id(passage): n for n, passage in enumerate(found)}
    runs.sort(key=lambda run: min(order[id(p)] for p in run))
    return [_as_one(index, run, min(run, key=lambda p: order[id(p)])) for run in runs]


def _touch(index: LocalIndex, one: Passage, other: Passage) -> bool:
    """Whether nothing but blanks lies between two passages, the first of which begins first."""
    if one.document_id != other.document_id or other.start - one.end > 100:
        return False
    return other.start <= one.end or not index.text_between(one.document_id, one.end, other.start).strip()


def _as_one(index: LocalIndex, run: list[RetrievedPassage], best: RetrievedPassage) -> RetrievedPassage:
    if len(run) == 1:
        return best
    first, last = run[0].passage, max((p.passage for p in run), key=lambda p: p.end)
    joined = replace(
        best.passage,
        text=index.text_between(first.document_id, first.start, last.end),
        start=first.start,
        end=last.end,
        first=first.first,
        last=last.last,
        heading_path=first.heading_path,
    )
    copies = tuple(dict.fromkeys(source for p in run for source in p.copies))
    marks = {p.newest for p in run if p.newest is not None}
    return replace(best, passage=joined, copies=copies, newest=all(marks) if marks else None)
