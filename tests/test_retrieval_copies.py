"""Results without near-copies, versions side by side, neighbours joined, and a second judge."""

import dataclasses

import numpy as np
import pytest

from rag.index.records import Source
from rag.retrieval import RERANKED, Reranker, retrieve
from rag.schema import Document, Filter, Span
from tests.conftest import HashingEmbedder
from tests.test_near_copies import BASE

EMBEDDER = HashingEmbedder()
QUESTION = "what is the fee for a berth at the harbour office"


def store(index, *documents):
    """Store (name, date, passages) as documents."""
    with index.writing():
        for name, date, texts in documents:
            joined = "\n\n".join(texts)
            starts = np.cumsum([0, *(len(t) + 2 for t in texts)]).tolist()
            spans = [
                Span(start, start + len(t), n, n) for n, (start, t) in enumerate(zip(starts, texts, strict=False), 1)
            ]
            document = Document(name, (f"/{name}",), name, "text/plain", joined, date=date)
            index.put_document(document, spans, EMBEDDER.embed_passages(texts), Source(f"/{name}", 1, 1, name))


def find(index, question=QUESTION, k=3, **options):
    return retrieve(index, EMBEDDER.embed_question, question, k, **options)


def test_near_copies_do_not_fill_the_results(index):
    copies = [(f"copy{n}", None, [BASE + " "]) for n in range(30)]
    store(
        index, *copies, ("other", None, ["The fee for a table in the tea room is nothing."]), ("more", None, ["Oak."])
    )
    found = find(index)
    assert len(found) == 3
    assert [p.rank for p in found] == [1, 2, 3]
    assert sum(p.passage.text.startswith("The harbour office") for p in found) == 1
    assert len(found[0].copies) == 29


def test_k_passages_come_back_though_hundreds_of_copies_are_better(index):
    copies = [(f"copy{n}", None, [BASE.replace("morning", f"morning{' ' * (n % 7 + 1)}")]) for n in range(250)]
    store(index, *copies, ("oak", None, ["Oak ribs are steamed."]), ("tar", None, ["Tar is heated slowly."]))
    assert {p.passage.source for p in find(index)} >= {"/oak", "/tar"}


def test_versions_stay_and_the_newest_is_marked(index):
    old, new = BASE, BASE.replace("85", "95")
    store(index, ("old", "2023-01-01", [old]), ("new", "2024-06-01", [new]), ("oak", "2024-07-01", ["Oak."]))
    found = {p.passage.source: p for p in find(index)}
    assert found["/old"].newest is False
    assert found["/new"].newest is True
    assert found["/oak"].newest is None
    assert found["/new"].passage.date == "2024-06-01"
    assert not found["/old"].copies


def test_an_older_version_is_told_even_where_the_newer_one_is_not_among_the_results(index):
    store(index, ("old", "2023-01-01", [BASE]), ("new", "2024-06-01", [BASE.replace("85", "95")]))
    assert find(index, k=1)[0].newest is not None


def test_versions_of_the_same_day_are_not_ranked(index):
    store(index, ("a", "2023-01-01", [BASE]), ("b", "2023-01-01", [BASE.replace("85", "95")]))
    assert [p.newest for p in find(index)] == [None, None]


PARTS = [
    "The fee for a berth is due in May.",
    "A berth without a fee is let go in June.",
    "Oak.",
    "The harbour office.",
]


def test_neighbours_become_one_passage_with_the_text_between_them(index):
    store(index, ("rules", None, PARTS))
    apart, joined = find(index), find(index, join=True)
    assert len(apart) == 3
    assert len(joined) == 2
    first = next(p for p in joined if "May" in p.passage.text).passage
    assert first.text == "\n\n".join(PARTS[:2])
    assert (first.first, first.last) == (1, 2)
    whole = next(iter(index.catalog.documents())).text
    assert all(whole[p.passage.start : p.passage.end] == p.passage.text for p in joined)
    assert joined[0].fused == apart[0].fused
    assert [p.rank for p in joined] == [1, 2]


def test_a_joined_passage_is_an_older_version_if_a_part_of_it_is(index):
    old, beside = BASE, "The fee for a berth at the harbour office is what a berth at the harbour office costs."
    store(index, ("old", "2023-01-01", [beside, old]), ("new", "2024-06-01", [BASE.replace("85", "95")]))
    found = {p.passage.source: p for p in find(index, question=beside, join=True)}
    assert found["/old"].passage.text == f"{beside}\n\n{old}"
    assert found["/old"].newest is False


def test_passages_with_another_one_between_them_stay_apart(index):
    store(index, ("rules", None, ["fee berth harbour office", "Oak. " * 40, "fee for a berth"]))
    assert len(find(index, k=2, join=True)) == 2


def test_the_second_judge_orders_the_best_and_its_score_is_named(index):
    texts = [f"the fee {'berth ' * n} {chr(97 + n % 26) * (n + 1)}" for n in range(RERANKED + 10)]
    store(index, *[(str(n), None, [text]) for n, text in enumerate(texts)])
    read = []

    def by_length(question, passages):
        read.append((question, passages))
        return [-len(p) for p in passages]

    found = find(index, k=5, reranker=Reranker("shortness", by_length))
    plain = find(index, k=RERANKED)
    ((question, passages),) = read
    assert question == QUESTION
    assert passages == [p.passage.text for p in plain]
    assert [len(p.passage.text) for p in found] == sorted(len(p) for p in passages)[:5]
    assert [(p.rank, p.reranked_by, p.rerank) for p in found] == [
        (n, "shortness", -len(p.passage.text)) for n, p in enumerate(found, start=1)
    ]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_each_mode_goes_by_its_own_scores(index, mode):
    store(index, ("a", None, ["fee for a berth"]), ("b", None, ["oak"]), ("c", None, ["harbour tea"]))
    found = find(index, mode=mode)
    side = {"dense": "dense", "lexical": "lexical", "hybrid": "fused"}[mode]
    scores = [getattr(p, side) for p in found]
    assert scores == sorted(scores, reverse=True)
    assert all((p.dense is None) == (mode == "lexical") for p in found)
    assert mode != "dense" or all(p.lexical is None for p in found)


def test_a_filter_finds_k_where_k_exist(index):
    store(index, *[(f"{n}.txt", None, [f"fee berth harbour office {n}"]) for n in range(300)], ("z.md", None, ["Oak."]))
    assert [p.passage.source for p in find(index, keep=Filter(types=("md",)))] == ["/z.md"]


def test_scores_are_shown_by_name_and_never_as_a_percentage(index):
    from rich.console import Console

    from ui.terminal import show_passages

    store(index, ("old", "2023-01-01", [BASE]), ("new", "2024-06-01", [BASE.replace("85", "95")]), ("c", None, [BASE]))
    found = [dataclasses.replace(p, rerank=-1.5, reranked_by="cross-encoder") for p in find(index)]
    console = Console(record=True, width=200)
    show_passages(console, found)
    shown = console.export_text()
    for name in ("fused 0.", "cosine 0.", "BM25 ", "cross-encoder -1.50", "newest of several versions (2024-06-01)"):
        assert name in shown
    assert "older version" in shown
    assert "nearly the same in: /" in shown
    assert "%" not in shown
