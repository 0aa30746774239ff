"""The page Ask in Streamlit's own test harness: what a person asks, sees and keeps."""

import json
import re
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ui import resources, store
from ui.ask_settings import labels
from ui.page import LANGUAGE
from ui.words import words

APP = str(Path(__file__).parents[1] / "ui" / "app.py")
TEA = "What is the name of the tea room?"
t = words("en")


@pytest.fixture
def own_home(home, tmp_path):
    """A home of this test alone, with the models and collections of all."""
    for name in ("models", "collections"):
        (tmp_path / name).symlink_to(home / name)
    return tmp_path


@pytest.fixture
def app(own_home, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(own_home))
    monkeypatch.setenv("RAG_COLLECTION", "examples")
    monkeypatch.setenv("RAG_MAX_NEW_TOKENS", "8")
    resources.clear()
    yield AppTest.from_file(APP, default_timeout=120)
    resources.clear()


def ask(app, question):
    app.chat_input[0].set_value(question).run()
    assert not app.exception
    return app


def drawn(app):
    return " ".join(element.proto.body for element in app.get("html"))


def labelled(elements, label):
    return next(element for element in elements if element.label == label)


def turns(home):
    return [turn for one in store.conversations(home) for turn in store.turns(home, one.id)]


def another_tab(turn):
    """The same conversation, opened once more by its address."""
    tab = AppTest.from_file(APP, default_timeout=120)
    tab.query_params["conversation"] = str(turn.conversation)
    return tab.run()


def test_a_question_is_answered_with_trust_sources_and_a_place_to_look_behind(app, own_home):
    app.run()
    assert not app.exception
    assert t("ask-intro") in [text.value for text in app.text]
    ask(app, TEA)
    assert not app.error
    (turn,) = turns(own_home)
    answer = turn.told.answer
    assert answer.prompt.question == TEA
    assert len(answer.steps) <= 8
    assert answer.contrast is not None
    body = drawn(app)
    assert "Visiting" in body
    assert 'class="ob-cite' in body
    assert "<mark>" in body
    assert t("trust-leans") in body
    assert "cosine" in body
    facts = next(text.value for text in app.text if answer.language_model in text.value)
    assert f"seed {answer.params.seed}" in facts
    assert dict(turn.told.settings) == {"collection": "examples", "template": "auto", "passages": 3}


def test_moving_a_slider_asks_nothing_and_keeps_the_conversation(app, own_home, monkeypatch):
    ask(app.run(), TEA)
    before = drawn(app)

    def touched(*_):
        raise AssertionError("a model was asked")

    for name in ("assistant", "generator", "embedder", "reranker"):
        monkeypatch.setattr(resources, name, touched)
    labelled(app.sidebar.slider, t("ask-temperature")).set_value(1.0).run()
    assert not app.exception
    assert drawn(app) == before
    assert len(turns(own_home)) == 1


def test_a_conversation_goes_on_is_found_again_and_deleted(app, own_home):
    ask(app.run(), TEA)
    ask(app, "When is it open?")
    first, second = turns(own_home)
    assert first.conversation == second.conversation
    assert "tea room" in second.told.answer.prompt.search_question
    labelled(app.sidebar.button, t("talk-new")).click().run()
    assert t("ask-intro") in [text.value for text in app.text]
    ask(app, "Who looks after the tool library?")
    assert len(store.conversations(own_home)) == 2
    labelled(app.sidebar.text_input, t("talk-search")).set_value("TEA room").run()
    titles = [button.label for button in app.sidebar.button if button.key and button.key.startswith("talk-")]
    assert len(titles) == 1
    app.sidebar.button(f"talk-{first.conversation}").click().run()
    assert [text.value for text in app.text].count("When is it open?") == 1
    labelled(app.button, t("talk-delete")).click().run()
    labelled(app.button, t("talk-yes")).click().run()
    assert not app.exception
    assert [one.id for one in store.conversations(own_home)] != []
    assert first.conversation not in [one.id for one in store.conversations(own_home)]
    assert t("ask-intro") in [text.value for text in app.text]


def test_an_address_opens_its_conversation(app, own_home):
    ask(app.run(), TEA)
    (turn,) = turns(own_home)
    assert TEA in [text.value for text in another_tab(turn).text]
    nowhere = AppTest.from_file(APP, default_timeout=120)
    nowhere.query_params["conversation"] = "99999"
    nowhere.run()
    assert not nowhere.exception
    assert t("ask-intro") in [text.value for text in nowhere.text]


def test_a_decline_names_the_preset_and_shows_the_sentence_that_fits_best(app):
    ask(app.run(), "来访的工匠每次在对方那里住多久？")
    assert "multilingual" in app.warning[0].value
    assert t("trust-fits") in drawn(app)
    assert "<mark>" in drawn(app)


def test_the_controls_reach_the_sampling_loop_and_are_kept(app, own_home):
    app.run()
    for label, value in (("ask-passages", 1), ("ask-temperature", 1.5), ("ask-min-p", 0.1), ("ask-typical-p", 0.9)):
        labelled(app.sidebar.slider, t(label)).set_value(value)
    for label, value in (("ask-top-k", 3), ("ask-ngram", 2), ("ask-seed", 11)):
        labelled(app.sidebar.number_input, t(label)).set_value(value)
    labelled(app.sidebar.multiselect, t("ask-types")).set_value(["md"])
    ask(app, TEA)
    (turn,) = turns(own_home)
    answer = turn.told.answer
    assert (answer.params.temperature, answer.params.top_k, answer.params.seed) == (1.5, 3, 11)
    assert (answer.params.min_p, answer.params.typical_p, answer.params.no_repeat_ngram) == (0.1, 0.9, 2)
    assert [p.passage.source.rsplit(".", 1)[1] for p in answer.prompt.passages] == ["md"]
    assert dict(turn.told.settings) == {"collection": "examples", "template": "auto", "passages": 1, "types": "md"}


def test_another_kind_of_answer_is_written_by_the_model_as_it_came(app, own_home):
    labelled(app.run().sidebar.selectbox, t("ask-style")).set_value("summary")
    ask(app, "the tea room")
    (turn,) = turns(own_home)
    assert turn.told.answer.prompt.template.startswith("summary")
    assert turn.told.answer.language_model == "embedded"


def test_feedback_is_kept_and_comes_back(app, own_home):
    ask(app.run(), TEA)
    (turn,) = turns(own_home)
    labelled(app.text_area, t("ask-corrected")).set_value("The Caulker's Rest")
    labelled(app.text_area, t("ask-note")).set_value("nice *place*")
    labelled(app.button, t("ask-keep")).click().run()
    assert not app.exception
    said = store.feedback_of(own_home, [turn.id])[turn.id]
    assert (said.corrected, said.note) == ("The Caulker's Rest", "nice *place*")
    app.run()
    assert store.feedback_of(own_home, [turn.id])[turn.id] == said


def test_a_thumb_is_kept_taken_back_and_safe_from_another_tab(app, own_home):
    ask(app.run(), TEA)
    (turn,) = turns(own_home)
    other = another_tab(turn)
    thumb = next(element for element in app.get("feedback"))
    thumb.set_value(1).run()
    assert store.feedback_of(own_home, [turn.id]) == {turn.id: store.Feedback(good=True)}
    labelled(other.sidebar.slider, t("ask-temperature")).set_value(0.5).run()
    assert not other.exception
    assert store.feedback_of(own_home, [turn.id]) == {turn.id: store.Feedback(good=True)}, "a rerun says nothing"
    labelled(other.text_area, t("ask-note")).set_value("so it is")
    labelled(other.button, t("ask-keep")).click().run()
    assert store.feedback_of(own_home, [turn.id]) == {turn.id: store.Feedback(good=True, note="so it is")}
    next(element for element in app.run().get("feedback")).set_value(None).run()
    assert store.feedback_of(own_home, [turn.id]) == {turn.id: store.Feedback(note="so it is")}


def test_what_another_tab_corrected_is_not_taken_back_by_a_note(app, own_home):
    ask(app.run(), TEA)
    (turn,) = turns(own_home)
    other = another_tab(turn)
    labelled(app.text_area, t("ask-corrected")).set_value("The Caulker's Rest")
    labelled(app.button, t("ask-keep")).click().run()
    labelled(other.text_area, t("ask-note")).set_value("so it is")
    labelled(other.button, t("ask-keep")).click().run()
    both = store.Feedback(corrected="The Caulker's Rest", note="so it is")
    assert store.feedback_of(own_home, [turn.id]) == {turn.id: both}
    labelled(other.text_area, t("ask-note")).set_value("")
    labelled(other.button, t("ask-keep")).click().run()
    assert store.feedback_of(own_home, [turn.id]) == {turn.id: store.Feedback(corrected="The Caulker's Rest")}


def test_a_reopened_conversation_goes_on_in_its_own_collection(app, own_home, home, monkeypatch):
    ask(app.run(), TEA)
    (turn,) = turns(own_home)
    (own_home / "collections").unlink()
    shutil.copytree(home / "collections", own_home / "collections")
    shutil.copytree(own_home / "collections" / "examples", own_home / "collections" / "another")
    other = AppTest.from_file(APP, default_timeout=120).run()
    labelled(other.sidebar.selectbox, t("ask-collection")).set_value("another").run()
    other.sidebar.button(f"talk-{turn.conversation}").click().run()
    assert labelled(other.sidebar.selectbox, t("ask-collection")).value == "examples"
    labelled(other.sidebar.selectbox, t("ask-collection")).set_value("another").run()
    assert labelled(other.sidebar.selectbox, t("ask-collection")).value == "another", "and can be changed then"


def test_settings_outlive_another_language(app):
    labelled(app.run().sidebar.slider, t("ask-temperature")).set_value(1.0).run()
    labelled(app.sidebar.number_input, t("ask-seed")).set_value(5).run()
    app.session_state[LANGUAGE] = "zh"
    app.run()
    zh = words("zh")
    assert labelled(app.sidebar.slider, zh("ask-temperature")).value == 1.0
    assert labelled(app.sidebar.number_input, zh("ask-seed")).value == 5
    assert not app.warning, "Streamlit has nothing to say about it"


def test_beams_of_the_settings_end_with_the_first_control_that_is_touched(app, own_home, monkeypatch):
    monkeypatch.setenv("RAG_BEAMS", "2")
    resources.clear()
    ask(app.run(), TEA)
    labelled(app.sidebar.slider, t("ask-temperature")).set_value(1.0)
    ask(app, TEA)
    assert [turn.told.answer.params.beams for turn in turns(own_home)] == [2, 1]


def test_what_nobody_expected_is_a_sentence_too(app, own_home, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("CUDA out of memory")

    app.run()
    monkeypatch.setattr(resources, "assistant", broken)
    ask(app, TEA)
    assert "It failed (RuntimeError)" in drawn(app)
    assert store.conversations(own_home) == []
    assert "CUDA out of memory" in capsys.readouterr().err, "for who runs the server"


def test_documents_of_one_name_are_told_apart():
    paths = ["/a/report.pdf", "/b/report.pdf", "/c/x/notes.md", "/d/x/notes.md", "/e/one.txt"]
    assert list(labels(paths).values()) == ["a/report.pdf", "b/report.pdf", "c/x/notes.md", "d/x/notes.md", "one.txt"]


def test_the_tokens_are_one_click_away_and_can_be_explained(app, own_home):
    ask(app.run(), TEA)
    labelled(app.toggle, t("ask-behind")).set_value(True).run()
    assert not app.exception
    labelled(app.button, t("ask-explain")).click().run()
    assert not app.exception
    (turn,) = turns(own_home)
    evidence = turn.told.evidence
    assert evidence.method == "shapley"
    assert turn.told.citations == evidence.citations
    assert t("ask-explain") not in [button.label for button in app.button], "it is computed once"


def test_an_empty_question_and_an_endless_one_are_sentences(app, own_home):
    ask(app.run(), "  ")
    assert "ask something" in drawn(app)
    ask(app, "why " * 9000)
    assert 'role="alert"' in drawn(app)
    assert store.conversations(own_home) == [], "nothing is kept of a question that could not be asked"


def test_an_error_is_said_in_the_persons_language(app):
    app.run()
    app.session_state[LANGUAGE] = "zh"
    ask(app, "  ")
    assert "问题为空" in drawn(app)


def test_without_a_collection_it_says_how_to_make_one(app, tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "empty"))
    resources.clear()
    app.run()
    assert not app.exception
    assert "rag ingest" in app.code[0].value


def test_a_wrong_setting_is_a_sentence(app, monkeypatch):
    monkeypatch.setenv("RAG_TOP_K", "many")
    resources.clear()
    app.run()
    assert not app.exception
    assert "Setting top_k" in drawn(app)


def test_the_page_speaks_chinese_when_it_is_asked_to(app):
    app.run()
    app.session_state[LANGUAGE] = "zh"
    app.run()
    assert not app.exception
    assert words("zh")("ask-title") in [title.value for title in app.title]
    assert "examples" in app.chat_input[0].placeholder
    assert not re.search(
        "[a-z]{4,}",
        json.dumps([s.label for s in app.sidebar.slider], ensure_ascii=False)
        .lower()
        .replace("top-p", "")
        .replace("min-p", "")
        .replace("typical", ""),
    )
