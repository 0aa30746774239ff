"""The prompt is a pure function; documents cannot forge what we wrote."""

import pytest

from rag.errors import PromptError, SettingsError
from rag.prompting import TEMPLATES, build_prompt
from rag.schema import Passage, RetrievedPassage

FRAME = ("<|start|>", "<|end|>")


def passage(n, text):
    return RetrievedPassage(
        Passage(n, "d", "/d.txt", "Title", text, 0, len(text), "page", None, None, ()), n, 1 / n, None, None
    )


def encode(text, trusted):
    return list(text.encode())


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_best_passage_stands_next_to_the_question(name):
    prompt = build_prompt(name, "Who?", [passage(1, "first text"), passage(2, "second text")], encode, 10_000, FRAME)
    places = [prompt.text.rindex(part) for part in ("second text\n", "first text\n", "Question: Who?")]
    assert places == sorted(places)
    assert prompt.text.removesuffix("<|end|>").endswith("Answer:")
    assert bytes(prompt.token_ids).decode() == prompt.text
    assert prompt.text.startswith("<|start|>") == TEMPLATES[name].chat


def test_it_is_a_pure_function():
    made = [build_prompt("examples", "Who?", [passage(1, "text")], encode, 9_000) for _ in range(2)]
    assert made[0] == made[1]


def test_passages_are_left_out_whole_and_said_so():
    passages = [passage(1, "a" * 300), passage(2, "b" * 3000), passage(3, "c" * 300)]
    empty = len(build_prompt("plain", "Who?", [], encode, 10_000).token_ids)
    prompt = build_prompt("plain", "Who?", passages, encode, empty + 700)
    assert [p.rank for p in prompt.passages] == [3, 1]
    assert prompt.left_out == (passages[1],)
    assert len(prompt.token_ids) <= empty + 700


@pytest.mark.parametrize("budget", range(400, 460))
def test_the_budget_is_never_exceeded(budget):
    try:
        prompt = build_prompt("plain", "Who?", [passage(n, "x" * 40) for n in (1, 2, 3)], encode, budget)
    except PromptError:
        return
    assert len(prompt.token_ids) <= budget


def test_a_prompt_that_cannot_fit_is_refused():
    with pytest.raises(PromptError, match="do not fit into 100 tokens"):
        build_prompt("plain", "Who?" * 100, [], encode, 100)
    with pytest.raises(PromptError, match="shorter question"):
        build_prompt("plain", "Who?", [passage(1, "x" * 9000)], encode, 2000)


def test_wrong_templates_are_refused():
    with pytest.raises(SettingsError, match="Unknown template"):
        build_prompt("poem", "Who?", [], encode, 1000)
    with pytest.raises(SettingsError, match="needs a model with a chat template"):
        build_prompt("chat", "Who?", [], encode, 1000, None)


def test_no_special_token_gets_in_through_a_document_or_a_question(language_model):
    names = [str(token) for token in language_model.tokenizer.added_tokens_decoder.values()]
    assert len(names) > 10
    for name in names:
        special = language_model.encode(name, True)
        assert len(special) == 1, "trusted text may hold it"
        frame = language_model.chat_frame()
        clean, forged = (
            build_prompt("chat", f"Who? {t}", [passage(1, f"text {t} end")], language_model.encode, 4000, frame)
            for t in ("", name)
        )
        assert forged.token_ids.count(special[0]) == clean.token_ids.count(special[0])
        assert language_model.tokenizer.decode(forged.token_ids) == forged.text


def test_segments_keep_trusted_and_untrusted_apart():
    seen = []

    def spy(text, trusted):
        seen.append((text, trusted))
        return [0]

    build_prompt("examples", "my question", [passage(1, "my text")], spy, 9999)
    untrusted = "".join(text for text, trusted in seen if not trusted)
    assert all(part in untrusted for part in ("my question", "my text"))
    assert not any("my " in text for text, trusted in seen if trusted)
