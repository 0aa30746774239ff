"""Laws of an answer as HTML: its text is the source's, whatever is in it; few tags, rightly nested; ids are unique."""

import dataclasses
import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from rag.judging import UNSURE
from rag.stopping import sentences
from tests.told_answers import HOSTILE, citing, read_from, told_of
from ui.answer_html import answer_html, excerpt, passage_html, quotes_html, source_html, supporting
from ui.terminal import best_first
from ui.words import words

T = words("en")
TAGS = {"details", "summary", "div", "a", "p", "b", "q", "style", "section", "header", "small", "mark"}
ATTRIBUTES = {"class", "href", "id", "aria-describedby", "title"}
# Parsers make U+FFFD of NUL and \n of \r: these two are no text that can come back.
texts = st.one_of(
    st.text("<>&\"'/#ab \n", max_size=30),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=30),
    st.sampled_from([text.replace("\x00", "") for text in HOSTILE]),
)
spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted).map(tuple), max_size=5)


class Page(HTMLParser):
    """What a browser finds: texts by the tags around them, and every tag; fails where tags are not nested."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.texts, self.tags = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS
        assert {name for name, _ in attributes} <= ATTRIBUTES
        self.open.append(tag)
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "style" not in self.open:
            self.texts.append((text, set(self.open)))

    handle_comment = handle_decl = handle_pi = unknown_decl = None  # calling one fails

    def text(self, within=None, but=None):
        return "".join(text for text, tags in self.texts if (not within or within in tags) and but not in tags)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


citations = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3)), max_size=6).map(
    lambda pairs: [citing(rank, end) for end, rank in pairs]
)


@settings(max_examples=150)
@for_all(texts, citations, st.sampled_from([None, UNSURE]))
def test_an_answers_text_is_the_source_with_numbers_behind_its_sentences(text, cited, abstained):
    told = told_of(text, passages=read_from("a", "b", "c"), citations=cited, abstained=abstained)
    source = told.answer.text
    page = Page(answer_html(told, "7"))
    assert page.text(but="a") == source
    links = page.of("a")
    assert [link["href"] for link in links] == [
        f"#ob-source-7-{c.rank}" for c in sorted(cited, key=lambda one: one.end)
    ]
    assert [text for text, tags in page.texts if "a" in tags] == [link["href"][-1] for link in links]
    place, found = 0, []
    for piece, tags in page.texts:
        if "a" in tags:
            found.append(place)
        place += len(piece) * ("a" not in tags)
    assert found == sorted(min(citation.end, len(source)) for citation in cited)
    (box,) = page.of("div")
    assert ("ob-guess" in box["class"]) == (abstained is not None)


@settings(max_examples=150)
@for_all(texts, spans, texts, st.lists(texts, max_size=2))
def test_a_passages_text_is_the_source_but_for_the_signs_of_headings(text, marked, title, path):
    (retrieved,) = read_from(text)
    passage = dataclasses.replace(retrieved.passage, title=title, heading_path=tuple(path))
    card = Page(source_html(dataclasses.replace(retrieved, passage=passage), marked, "7", T))
    page = Page(passage_html(text, marked))
    signs = {n for found in re.finditer(r"^#{1,6} (?=.)", text, re.MULTILINE) for n in range(*found.span())}
    heads = {n for found in re.finditer(r"^#{1,6} (.+)$", text, re.MULTILINE) for n in range(*found.span(1))}
    expected = [n for n in range(len(text)) if n not in signs]
    assert page.text("div") == "".join(text[n] for n in expected)
    assert card.text("header") == f"[1] {title}"
    assert card.text("small") == ", ".join(filter(None, (" › ".join(path), "page 1")))
    assert card.text("summary") in ("Where and why", "Whole passageWhere and why")
    inside = {n for start, end in marked for n in range(start, min(end, len(text)))}
    assert page.text("mark") == "".join(text[n] for n in expected if n in inside)
    assert page.text("b") == "".join(text[n] for n in expected if n in heads)
    assert [attributes["id"] for attributes in card.of("section")] == ["ob-source-7-1"]
    assert passage_html(text, marked) in source_html(retrieved, marked, "7", T), "the whole is there, folded or not"


@for_all(st.lists(st.sampled_from(["One is here. ", "Two is there. ", "# Head\n", "A third one? "]), max_size=9), spans)
def test_what_is_read_first_holds_each_marked_sentence_with_its_neighbours(told, marked):
    text = "".join(told)
    marked = [(start, end) for start, end in marked if start < min(end, len(text.rstrip()))]
    start, end = excerpt(text, marked)
    assert 0 <= start <= end <= len(text)
    for a, b in sentences(text):
        if any(a < stop and begin < b for begin, stop in marked):
            assert start <= a
            assert b <= end


def test_the_rest_is_folded_away():
    (retrieved,) = read_from("One. Two. Three. Four. Five. Six.")
    card = source_html(retrieved, [(17, 22)], "7", T)
    assert '<div class="ob-passage">… Three. <mark>Four.</mark> Five. …</div>' in card
    assert "<details><summary>Whole passage</summary>" in card
    assert "Whole passage" not in source_html(retrieved, [(0, 33)], "7", T)
    assert '<div class="ob-passage">One. Two. …</div>' in source_html(retrieved, [], "7", T)


@pytest.mark.parametrize(
    ("text", "marked", "shown"),
    [
        ("one two three", [(4, 7)], "one <mark>two</mark> three"),
        ("one two three", [(0, 7), (4, 13)], "<mark>one two three</mark>"),
        ("one two three", [(0, 13), (4, 7)], "<mark>one two three</mark>"),
        ("one two three", [(4, 7), (4, 7)], "one <mark>two</mark> three"),
        ("one two", [(4, 99), (50, 60)], "one <mark>two</mark>"),
        ("one", [(1, 1)], "one"),
        ("# A <b>\nit", [], "<b>A &lt;b&gt;</b>\nit"),
        ("# Head\nbody", [(2, 11)], "<b><mark>Head</mark></b><mark>\nbody</mark>"),
        ("# Head\nbody", [(0, 4)], "<b><mark>He</mark></b><b>ad</b>\nbody"),
        ("####### no #head\n#no\n  # no", [], "####### no #head\n#no\n  # no"),
        ("a\n## 标题\n正文", [(8, 10)], "a\n<b>标题</b>\n<mark>正文</mark>"),
    ],
)
def test_marks_and_headings(text, marked, shown):
    assert passage_html(text, marked) == f'<div class="ob-passage">{shown}</div>'


def test_ids_are_unique_over_turns_and_every_number_leads_to_one():
    read = read_from("a. b.", "c", "d")
    turns = [
        told_of("One. Two.", passages=read, citations=[citing(2, 4), citing(1, 9), citing(2, 9)]) for _ in range(2)
    ]
    pages = [
        Page(
            answer_html(told, name)
            + "".join(source_html(p, [], name, T) for p in best_first(told.answer.prompt.passages))
        )
        for name, told in zip(("7", "71"), turns, strict=True)
    ]
    ids = [attributes["id"] for page in pages for _, attributes in page.tags if "id" in attributes]
    links = [link for page in pages for link in page.of("a")]
    assert len(set(ids)) == len(ids) == 6
    assert {link["href"] for link in links} <= {f"#{name}" for name in ids}
    assert all(link["href"] == f"#{link['aria-describedby']}" for link in links)


def test_a_number_lights_up_its_own_source_by_css():
    (first, _) = read_from("a", "b")
    page = source_html(first, [], "7", T)
    told = told_of("One.", passages=read_from("a", "b"), citations=[citing(1, 4)])
    assert ".ob-cite-7-1:is(:hover, :focus)) #ob-source-7-1" in page
    assert "ob-cite-7-1" in Page(answer_html(told, "7")).of("a")[0]["class"].split()


def test_what_supports_an_answer_is_quoted_once():
    read = read_from("It opens at <ten>.\nEvery day.", "No.")
    cited = [citing(1, 4, passage_end=18), citing(1, 9, passage_end=18), citing(2, 9, passage_end=3)]
    told = told_of("Ten. Ten.", passages=read, citations=cited)
    assert supporting(told) == [(1, 0, 18), (1, 0, 18), (2, 0, 3)]
    page = Page(quotes_html(told, "Leans <on>", "Fits"))
    assert page.text() == "Leans <on> [1] It opens at <ten>.Leans <on> [2] No."
    assert page.text("q") == "It opens at <ten>.No."


def test_of_a_decline_the_sentence_is_quoted_that_fits_best():
    read = read_from("The boat is red. The tea room opens at ten.", "Nothing.")
    told = told_of("Ten", "When does the tea room open?", read, [citing(2, 3)], abstained=UNSURE)
    ((rank, start, end),) = supporting(told)
    assert (rank, read[0].passage.text[start:end].strip()) == (1, "The tea room opens at ten.")
    assert Page(quotes_html(told, "Leans on", "Fits best")).text() == "Fits best [1] The tea room opens at ten."
    assert quotes_html(told_of("Ten", passages=(), abstained=UNSURE), "a", "b") == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_a_tag(text):
    read = read_from(text, text)
    told = told_of(text, text, read, [citing(1, 5, passage_end=len(text)), citing(2, 9, passage_end=4)])
    pages = [
        answer_html(told, "7"),
        quotes_html(told, "on", "fits"),
        *(source_html(p, [(2, 8)], "7", T) for p in read),
    ]
    for page in pages:
        assert set(re.findall(r"</?([a-zA-Z!?][a-z]*)", page)) <= TAGS
        Page(page.replace("\x00", ""))
        assert "<script" not in page
        assert "<img" not in page
    assert html.escape(told.answer.text[:4]) in pages[0]
