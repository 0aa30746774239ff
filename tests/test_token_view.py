"""The token view's data: numbers that sum, bands that can be told apart without colour, text that stays text."""

import html
import itertools
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from rag.contrast import answer_sentences
from tests.token_answers import (
    SENTENCES,
    answer_of,
    contrast_of,
    evidence_of,
    explained,
    retrieved,
    step,
    steps_of,
)
from ui.token_view import STYLE, Choice, band, choice, tokens_html
from ui.token_view.assets import script, style
from ui.token_view.bands import COLOURS, MUCH, SIGNS, entropy_band, heat_band, lift_band, passage_band, rank_band
from ui.token_view.data import LABELS, MODES, NOTES, WORDS, view_data
from ui.token_view.export import page
from ui.token_view.figures import timeline
from ui.token_view.signs import alone, in_flow, nats, probability, signed
from ui.token_view.tokens import alternatives, leading_passage, others
from ui.words import LANGUAGES, words

EN = words("en")
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"><img src=x onerror=alert(1)>',
    "</span></div><style>*{display:none}",
    "&lt;b&gt;",
    "{shown}",
    "a\u202egnp.exe",
    "line\u2028separator\u2029",
    "\x00\x08\ud800",
]


def data_of(text=SENTENCES, branches=(), shown=0, t=EN, **more):
    answer, evidence = explained(text, **more)
    return view_data(answer, evidence, branches, shown, t)


# --- bands


def test_bands_follow_the_numbers():
    assert [band(math.log(p)) for p in (1, 0.9, 0.89, 0.5, 0.49, 0.1, 0.09)] == [
        *("sure", "sure", "likely", "likely", "unsure", "unsure", "guess")
    ]
    assert band(-math.inf) == "guess"
    assert [rank_band(r) for r in (1, 2, 3, 4, 10, 11, 49_000)] == [
        "first",
        *["near"] * 2,
        *["far"] * 2,
        *["remote"] * 2,
    ]
    assert [entropy_band(e) for e in (0, 0.49, 0.5, 1.5, 3, 11)] == [
        "settled",
        "settled",
        "open",
        "wide",
        "lost",
        "lost",
    ]
    assert [lift_band(x) for x in (MUCH, 0.05, 0.0, -0.05, -MUCH)] == ["much-more", "more", "same", "less", "much-less"]


@pytest.mark.parametrize("mode", SIGNS)
def test_every_band_has_a_second_sign_beside_its_colour(mode):
    signs = SIGNS[mode]
    assert len(set(signs.values())) == len(signs), "no two bands of a scale are marked alike"
    assert set(LABELS[mode]) == set(signs)
    for name, sign in signs.items():
        assert (f".ob-{name}" in style()) == (sign != "plain")
        assert sign == "plain" or re.search(rf"\.ob-sign-{sign}\b", style())


def test_the_streamed_bands_have_one_too():
    for name in ("likely", "unsure", "guess"):
        assert "underline" in re.search(rf"\.ob-{name} {{(.*?)}}", STYLE)[1]


def test_a_passage_is_told_by_its_number_too():
    data = data_of()
    assert {item["mark"] for item in data["modes"][4]["legend"]} == {"[1]", "[2]"}
    led = [token["bands"]["passage"] for token in data["tokens"]]
    for now, after, token in zip(led, [*led[1:], None], data["tokens"], strict=True):
        assert bool(token["mark"]) == (now is not None and now != after), "a number where a run of tokens ends"
    assert len({passage_band(n) for n in range(20)}) == COLOURS


def test_heat_is_a_distance_from_nothing():
    assert [heat_band(x, 4.0) for x in (0, 0.1, 1.1, 4.0, -0.1, -4.0)] == [
        "zero",
        "up-1",
        "up-2",
        "up-4",
        "down-1",
        "down-4",
    ]
    assert heat_band(1.0, 0.0) == "zero"


# --- text and numbers


@pytest.mark.parametrize("text", ["plain", " with blanks ", "汉字", "👩‍🚀", "مرحبا‌ها", "a\tb", "é"])
def test_text_that_can_be_seen_is_shown_as_it_is(text):
    assert in_flow(text) == text


def test_what_cannot_be_seen_gets_a_sign():
    assert in_flow("a\nb") == "a↵\nb"
    assert in_flow("a\u202eb") == "a⟨202E⟩b", "nothing may reorder the tokens after it"
    assert in_flow("\u2028\x00\ud800") == "⟨2028⟩⟨0000⟩⟨D800⟩"
    assert in_flow("\u200d") == "⟨200D⟩", "a joiner with nothing to join"
    assert [alone(x) for x in ("", " a b", "  ", "\n\n", "\t", "a ")] == ["∅", "␣a b", "␣␣", "↵↵", "⇥", "a␣"]


def test_numbers_are_written_as_they_are():
    assert [probability(x) for x in (0.0, math.log(0.25), -20.0, -math.inf, 1e-9)] == [
        *("1.000", "0.250", "<0.001", "0.000", "1.000")
    ]
    assert [nats(x) for x in (-1.5, -0.001, 0.0, -math.inf)] == ["−1.50", "0.00", "0.00", "−∞"]
    assert [signed(x) for x in (1.5, -1.5, 0.002, -0.0001)] == ["+1.50", "−1.50", "+0.002", "0.00"]


# --- tokens


def test_the_tokens_concatenate_to_the_answer():
    answer, evidence = explained()
    data = view_data(answer, evidence, (), 0, EN)
    assert "".join(token["text"] for token in data["tokens"]) == f"{answer.text}■"
    assert data["text"] == answer.text


def test_the_end_token_can_be_looked_into():
    end = data_of()["tokens"][-1]
    assert (end["text"], end["name"]) == ("■", "end of the answer")
    assert len(end["alternatives"]) == 3
    assert "■" in tokens_html([step("", finish_reason="end_token")])


def test_a_token_inside_a_character_can_be_looked_into():
    answer = answer_of([step("a"), step(""), step("字"), step("", finish_reason="stop_string")])
    tokens = view_data(answer, None, (), 0, EN)["tokens"]
    assert [token["text"] for token in tokens] == ["a", "◦", "字", "■"]
    assert [token["name"] for token in tokens] == ["a", "part of a character", "字", "end of the answer"]
    assert 'class="ob-token ' not in tokens_html([step("")]), "while it is written it waits for its character"


def test_a_token_of_blanks_has_a_name():
    names = [token["name"] for token in view_data(answer_of([step(" "), step("\n\n")]), None, (), 0, EN)["tokens"]]
    assert names == ["blank", "line break"]


def test_both_probabilities_are_told_and_never_mixed():
    (token,) = view_data(answer_of([step("a", -0.5, sampled_logprob=-0.25)]), None, (), 0, EN)["tokens"]
    assert token["facts"][:2] == ["0.607 (log p −0.50)", "0.779 (log p −0.25)"]
    forced = step("a", -0.5, sampled_logprob=-math.inf)
    (token,) = view_data(answer_of([forced]), None, (), 0, EN)["tokens"]
    assert token["facts"][:2] == ["0.607 (log p −0.50)", "0 (removed by a filter)"]


def test_the_card_has_a_name_for_each_of_its_lines():
    answer, evidence = explained()
    for given in ((answer, evidence), (answer, None), (replace(answer, contrast=None), None)):
        data = view_data(*given, (), 0, EN)
        assert all(len(token["facts"]) == len(data["facts"]) for token in data["tokens"])


def test_the_alternatives_are_ordered_bars_that_sum_to_one():
    rows = alternatives(one := step("a", math.log(0.6)))
    assert [row["model"] for row in rows] == sorted((row["model"] for row in rows), reverse=True)
    assert sum(row["model"] for row in rows) + others(one)["model"] == pytest.approx(1)
    assert others(step("a", 0.0))["model"] == 0.0, "rounding never gives less than nothing"
    assert [row["chosen"] for row in rows] == [True, False, False]


def test_an_alternative_that_a_filter_removed_is_still_there():
    removed = alternatives(step("a"))[1]
    assert (removed["id"], removed["drawn"], removed["drawnText"]) == (2, 0.0, "–")


def test_the_chosen_token_is_always_among_the_rows():
    for given in ((), step("b").alternatives[1:]):
        rows = alternatives(step("b", token_id=7, alternatives=given))
        assert [row["id"] for row in rows if row["chosen"]] == [7]


# --- lift and passages


def test_differences_within_the_noise_are_not_shown():
    plain = answer_of([step("a"), step(" b"), step(" c")])
    answer = replace(plain, contrast=contrast_of(plain, [0.5, 0.04, -2.0], floor=0.05))
    data = view_data(answer, None, (), 0, EN)
    assert [token["bands"]["lift"] for token in data["tokens"]] == ["more", "same", "much-less"]
    noise = EN("token-band-same")
    assert [token["says"]["lift"] for token in data["tokens"]] == ["lift +0.50 nats", noise, "lift −2.00 nats"]
    assert [token["facts"][-1] for token in data["tokens"]] == ["+0.50 nats", noise, "−2.00 nats"]


def test_a_passage_leads_only_beyond_the_noise():
    answer, evidence = explained()
    silent = replace(evidence, contrast=replace(evidence.contrast, noise_floor=99.0))
    assert all(leading_passage(silent, n) is None for n in range(len(answer.steps)))
    for n, token in enumerate(view_data(answer, evidence, (), 0, EN)["tokens"]):
        best = max(evidence.passages, key=lambda one: one.values[n])
        led = best.values[n] >= 0.01
        assert token["bands"]["passage"] == (passage_band(best.rank - 1) if led else None)
        assert (f"[{best.rank}]" if led else EN("token-no-passage")) in token["facts"][-1]


def test_a_colouring_that_is_not_at_hand_says_how_to_get_it():
    plain = answer_of(steps_of(SENTENCES))
    modes = {mode["id"]: mode for mode in view_data(plain, None, (), 0, EN)["modes"]}
    assert list(modes) == list(MODES)
    assert {name for name, mode in modes.items() if mode["note"]} == set(NOTES)
    assert all(bool(mode["legend"]) != bool(mode["note"]) for mode in modes.values())
    assert not any(mode["note"] for mode in data_of()["modes"])


def test_the_lift_of_the_evidence_serves_where_the_answer_has_none():
    answer, evidence = explained()
    with_own, with_evidence = (view_data(a, evidence, (), 0, EN) for a in (answer, replace(answer, contrast=None)))
    assert with_own == with_evidence


# --- branches


def test_branches_are_listed_with_their_total():
    answer, evidence = explained()
    branch = answer_of(steps_of("The tea room is called the Slipway.", 2))
    data = view_data(answer, evidence, [branch], 1, EN)
    first, second = data["branches"]
    assert (first["logprob"], second["logprob"]) == pytest.approx((answer.logprob, branch.logprob), abs=1e-6)
    assert (first["tokens"], second["tokens"]) == (len(answer.steps), len(branch.steps))
    assert (first["before"], first["rest"]) == (answer.text, "")
    assert (second["before"], second["rest"]) == ("The tea room is called ", "the Slipway.")
    assert [one["shown"] for one in data["branches"]] == [False, True]
    assert [token["id"] for token in data["tokens"]] == [s.token_id for s in branch.steps]
    assert data["heat"] is None, "the evidence is about the answer"
    assert [mode["id"] for mode in data["modes"] if mode["note"]] == ["lift", "passage"]
    with pytest.raises(IndexError):
        view_data(answer, evidence, [branch], 2, EN)


def test_a_long_beginning_is_cut_where_a_branch_differs_late():
    answer, branch = (answer_of(steps_of("word " * 80 + end)) for end in ("one.", "two."))
    row = view_data(answer, None, [branch], 0, EN)["branches"][1]
    assert row["before"].startswith("… word")
    assert len(row["before"]) < 70
    assert row["rest"] == "two."


# --- figures


def test_the_time_line_has_a_point_a_token():
    answer, _ = explained()
    line = timeline(answer, answer.contrast, EN)
    assert line["with"] == pytest.approx([s.logprob for s in answer.steps], abs=1e-6)
    assert line["without"] == pytest.approx(list(answer.contrast.without), abs=1e-6)
    assert len(line["readings"]) == len(answer.steps)
    assert line["low"] <= min(*line["with"], *line["without"])
    assert 3 <= len(line["ticks"]) <= 6
    assert nats(sum(line["with"])) in line["about"]
    assert timeline(answer, None, EN)["without"] is None


@pytest.mark.parametrize("lowest", [0.0, -0.3, -1.0, -4.9, -5.1, -23.0, -240.0])
def test_the_axis_reaches_below_the_lowest_point(lowest):
    ticks = [tick["value"] for tick in timeline(answer_of([step("a", lowest)]), None, EN)["ticks"]]
    assert ticks[0] == 0
    assert ticks[-1] <= lowest
    assert 3 <= len(ticks) <= 6
    assert len({round(a - b, 9) for a, b in itertools.pairwise(ticks)}) == 1


def test_the_heat_map_sums_to_what_the_passages_gave():
    answer, evidence = explained()
    heat = view_data(answer, evidence, (), 0, EN)["heat"]
    assert [row["text"] for row in heat["rows"]] == [answer.text[a:b] for a, b, _ in answer_sentences(answer)]
    assert [column["mark"] for column in heat["columns"]] == ["[1]", "[2]"]
    by_rank = {one.rank: one for one in evidence.passages}
    for rank, column in zip((1, 2), zip(*(row["cells"] for row in heat["rows"]), strict=True), strict=True):
        assert sum(cell["value"] for cell in column) == pytest.approx(by_rank[rank].total)
    assert [cell["value"] for cell in heat["whole"]["cells"]] == pytest.approx([by_rank[1].total, by_rank[2].total])
    assert all(bool(cell["text"]) == (cell["value"] is not None) for row in heat["rows"] for cell in row["cells"])


def test_noise_leaves_a_cell_of_the_heat_map_blank():
    answer = answer_of(steps_of(SENTENCES))
    heat = view_data(answer, evidence_of(answer, floor=99.0), (), 0, EN)["heat"]
    assert {(cell["value"], cell["text"], cell["band"]) for row in heat["rows"] for cell in row["cells"]} == {
        (None, "", "zero")
    }


def test_beyond_five_passages_the_values_are_named_otherwise():
    answer = answer_of(steps_of(SENTENCES), passages=tuple(retrieved(n) for n in range(1, 8)))
    heat = view_data(answer, evidence_of(answer, method="first and last"), (), 0, EN)["heat"]
    assert len(heat["columns"]) == 7
    assert EN("token-heat-ends") in heat["about"]


# --- the whole


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_json_with_all_its_words(language):
    answer, evidence = explained()
    impossible = step("x", -math.inf, sampled_logprob=-math.inf)
    odd = answer_of([step("a"), impossible, step("", finish_reason="end_token")])
    odd = replace(odd, contrast=contrast_of(answer_of([step("a")] * 3), [0.1, math.inf, -math.inf]))
    data = view_data(answer, evidence, [odd], 1, words(language))
    text = json.dumps(data, allow_nan=False)
    assert json.loads(text) == data
    assert data["timeline"]["with"][1] is None
    assert data["branches"][1]["logprob"] is None
    assert set(data["words"]) == set(WORDS)
    assert set(re.findall(r"\bwords\.(\w+)", script())) | {"pinHint", "branchHint"} == set(data["words"])


def test_an_empty_answer_is_one():
    data = view_data(answer_of([]), None, (), 0, EN)
    assert (data["tokens"], data["timeline"], data["heat"]) == ([], None, None)
    assert EN("token-empty") in page(answer_of([]), None, (), EN)
    blank = answer_of([step("", finish_reason="end_token")])
    assert view_data(blank, evidence_of(blank), (), 0, EN)["heat"]["rows"] == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "branch",
        [],
        {},
        {"kind": "branch"},
        {"kind": "eat", "position": 1},
        {"kind": "show", "position": -1},
        {"kind": "show", "position": True},
        {"kind": "branch", "position": 1, "token_id": "2"},
        {"kind": "branch", "position": 1, "token_id": 2.0},
    ],
)
def test_what_is_no_choice_is_none(value):
    assert choice(value) is None


def test_a_choice_comes_as_it_was_made():
    assert choice({"kind": "branch", "position": 4, "token_id": 2}) == Choice("branch", 4, 2)
    assert choice({"kind": "show", "position": 0, "token_id": None}) == Choice("show", 0, None)


APP = """
from tests.token_answers import explained
from ui.token_view import show
from ui.token_view.data import view_data
from ui.words import words

answer, evidence = explained()
assert show(view_data(answer, evidence, (), 0, words("en")), key="tokens") is None
"""


def test_it_mounts_in_each_run_of_each_app_and_triggers_nothing():
    for _ in range(2):
        app = AppTest.from_string(APP, default_timeout=60).run()
        assert not app.exception
        assert not app.run().exception


# --- text that stays text


class Page(HTMLParser):
    """The elements of a page, and the text of its data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.texts.append((self.tags[-1], data))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_of_a_model_stays_text_while_it_is_written(hostile):
    made = tokens_html([step(hostile)]).replace(STYLE, "")
    assert set(re.findall(r"<(/?\w+)", made)) <= {"div", "/div", "span", "/span"}
    assert html.escape(in_flow(hostile)) in made
    assert made.count("<div") == made.count("</div>")
    assert made.count("<span") == made.count("</span>")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_of_anyone_stays_text_in_the_page(hostile):
    calm = Page(page(*hostile_answer("calm"), EN))
    made = page(*hostile_answer(hostile), EN)
    found = Page(made)
    assert found.tags == calm.tags, "not one element more"
    assert found.attributes == calm.attributes
    (data,) = (text for tag, text in found.texts if tag == "script" and text.startswith("[{"))
    assert data == json.dumps(json.loads(data)).replace("<", "\\u003c")
    assert in_flow(hostile) in json.loads(data)[0]["tokens"][0]["text"]
    made.encode("utf-8")


def hostile_answer(text):
    """A question, an answer, its branch, its alternatives and its documents that all say this."""
    passages = (retrieved(1, title=text, text=text, read=3),)
    steps = [step(text), step(" end.", finish_reason="end_token")]
    answer = replace(answer_of(steps, question=text, passages=passages), abstained=text, language_model=text)
    return answer, evidence_of(answer), [answer_of(steps[:1], passages=passages)]


def test_the_page_needs_nothing_else_and_may_load_nothing():
    made = page(*explained(), (), EN)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', made)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"\b(?:src|href)=|@import|url\(|https?:(?!//www\.w3\.org/2000/svg)", made)
    assert " style=" not in made, "the policy would drop it"


def test_the_page_tells_how_the_answer_was_made():
    answer, evidence = explained()
    answer = replace(answer, confidence=0.71, calibrated_on="60 questions")
    made = page(answer, evidence, (), EN)
    for told in (
        "<dt>Seed</dt><dd><bdi>11</bdi>",
        "<dt>stop</dt><dd><bdi>[&quot;\\n&quot;]</bdi>",
        "0.71, calibrated on 60 questions",
    ):
        assert told in made
    for passage in answer.prompt.passages:
        assert html.escape(passage.passage.text) in made
    assert "uncalibrated" in page(replace(answer, calibrated_on=None), evidence, (), EN)
    assert '<html lang="zh">' in page(answer, evidence, (), words("zh"))


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "ui").rglob("*.js")), ids=lambda path: path.name)
def test_no_script_sets_text_as_html(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|createContextual|DOMParser|eval\(", text)


def test_the_script_can_stand_in_a_page():
    assert "</script" not in script().lower()
    assert "<!--" not in script()
    assert "export default function" in script()
