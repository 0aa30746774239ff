"""The app in Streamlit's own test harness."""

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ui import resources

APP = str(Path(__file__).parents[1] / "ui" / "app.py")


@pytest.fixture
def app(home, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(home))
    monkeypatch.setenv("RAG_COLLECTION", "examples")
    monkeypatch.setenv("RAG_MAX_NEW_TOKENS", "8")
    for cached in (resources.settings, resources.assistant):
        cached.clear()
    yield AppTest.from_file(APP, default_timeout=120)
    for cached in (resources.settings, resources.assistant):
        cached.clear()


def ask(app, question):
    app.text_input[0].set_value(question)
    return next(b for b in app.button if b.label == "Ask").click().run()


def written(app):
    return " ".join(element.proto.body for element in app.get("html"))


def test_a_question_is_answered_with_sources_and_tokens(app):
    app.run()
    assert not app.exception
    ask(app, "What is the name of the tea room?")
    assert not app.exception
    assert not app.error
    assert len(re.findall("ob-token ob-", written(app))) >= 1
    assert "Visiting" in written(app)
    assert any(text.value.startswith("The documents ") for text in app.text), "what they changed"
    assert "leans on" in written(app)
    assert "cosine" in " ".join(text.value for text in app.text)
    assert any(re.match(r"Confidence 0\.|Its best answer", text.value) for text in app.text)
    answer = app.session_state.answer
    assert answer.prompt.question == "What is the name of the tea room?"
    assert len(answer.steps) <= 8
    # A rerun that only moves a slider keeps the answer and asks nothing.
    app.sidebar.slider[1].set_value(1.0).run()
    assert app.session_state.answer is answer
    assert "ob-token" in written(app)


def test_a_decline_shows_the_sentence_that_fits_best(app):
    app.run()
    ask(app, "来访的工匠每次在对方那里住多久？")
    assert not app.exception
    assert "multilingual" in app.warning[0].value
    assert "Fits best" in written(app)
    assert "<mark>" in written(app)


def test_the_controls_reach_the_sampling_loop(app):
    app.run()
    app.sidebar.slider[0].set_value(1)
    app.sidebar.slider[1].set_value(1.5)
    app.sidebar.number_input[0].set_value(3)
    app.sidebar.number_input[1].set_value(2)
    app.sidebar.number_input[2].set_value(11)
    for slider, value in ((4, 0.1), (5, 0.9), (6, 1.2)):
        app.sidebar.slider[slider].set_value(value)
    ask(app, "What is the name of the tea room?")
    answer = app.session_state.answer
    assert (answer.params.temperature, answer.params.top_k, answer.params.seed) == (1.5, 3, 11)
    assert (answer.params.min_p, answer.params.typical_p) == (0.1, 0.9)
    assert (answer.params.repetition_penalty, answer.params.no_repeat_ngram) == (1.2, 2)
    assert len(answer.prompt.passages) == 1


def test_an_empty_question_is_a_sentence(app):
    app.run()
    ask(app, " ")
    assert not app.exception
    assert "ask something" in app.error[0].value


def test_without_a_collection_it_says_how_to_make_one(app, tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    app.run()
    assert not app.exception
    assert "rag ingest" in app.code[0].value


def test_a_wrong_setting_is_a_sentence(app, monkeypatch):
    monkeypatch.setenv("RAG_TOP_K", "many")
    app.run()
    assert not app.exception
    assert "top_k" in app.error[0].value
