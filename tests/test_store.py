"""Laws of the app's store: what was kept comes back equal, what was acknowledged stays, what was deleted is gone."""

import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from rag.errors import InputError
from tests.token_answers import explained
from tests.told_answers import any_answer, anything_told, told_of
from ui import store
from ui.store import FORMAT, Feedback
from ui.told import UNREADABLE, Told, as_json

AN_ANSWER, EVIDENCE = explained()
TOLD = Told(AN_ANSWER, EVIDENCE.citations, {"collection": "papers", "template": "auto"}, EVIDENCE)
SCRIPT = """
import sys
from pathlib import Path
from tests.test_store import AN_ANSWER, TOLD
from ui import store
home, what, number, times = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
print(0, flush=True)
for _ in range(times):
    done = store.add_turn(home, number, TOLD) if what == "turn" else store.add_branch(home, number, AN_ANSWER)
    print(done, flush=True)
"""


@pytest.fixture(scope="module")
def one_home(tmp_path_factory):
    """A home for many examples."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def talk(tmp_path):
    """A conversation."""
    return store.begin(tmp_path, "When does it open?", "papers")


def raw(home, sql, *values):
    """Ask the file past the store."""
    connection = sqlite3.connect(home / "app" / store.FILE)
    with connection:
        rows = connection.execute(sql, values).fetchall()
    connection.close()
    return rows


def writing(home, what, number, times):
    """Another process that writes; it has begun."""
    command = [sys.executable, "-c", SCRIPT, str(home), what, str(number), str(times)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "0\n"
    return writer


# what comes back


@settings(max_examples=40)
@for_all(told=anything_told)
def test_what_was_told_comes_back_equal(one_home, told):
    number = store.begin(one_home, told.answer.prompt.question, told.answer.text)
    turn = store.add_turn(one_home, number, told)
    (found,) = store.turns(one_home, number)
    assert (found.id, found.conversation, found.told) == (turn, number, told)
    kept = store.conversation(one_home, number)
    assert (kept.title, kept.collection) == (told.answer.prompt.question, told.answer.text)


@settings(max_examples=20)
@for_all(branches=st.lists(any_answer, min_size=1, max_size=3))
def test_branches_and_evidence_are_added_to_what_is_there(one_home, branches):
    number = store.begin(one_home, "q", "papers")
    turn = store.add_turn(one_home, number, told_of())
    assert [store.add_branch(one_home, turn, branch) for branch in branches] == [*range(1, len(branches) + 1)]
    store.change_turn(one_home, turn, evidence=EVIDENCE)
    (found,) = store.turns(one_home, number)
    assert found.told == dataclasses.replace(told_of(), branches=tuple(branches), evidence=EVIDENCE)


def test_turns_come_in_order_and_the_latest_conversation_first(tmp_path):
    first, second = store.begin(tmp_path, "first", "a"), store.begin(tmp_path, "second", "a")
    assert store.conversations(tmp_path) == [], "nothing was answered in them"
    store.add_turn(tmp_path, first, told_of(question="x"))
    store.add_turn(tmp_path, second, told_of(question="y"))
    assert [one.id for one in store.conversations(tmp_path)] == [second, first]
    before = [turn.id for turn in store.turns(tmp_path, first)]
    asked = [store.add_turn(tmp_path, first, told_of(question=text)) for text in "abc"]
    assert [one.id for one in store.conversations(tmp_path)] == [first, second]
    assert [turn.id for turn in store.turns(tmp_path, first)] == [*before, *asked]
    assert [turn.told.answer.prompt.question for turn in store.turns(tmp_path, first)] == list("xabc")
    assert len(store.turns(tmp_path, second)) == 1


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", "abc"),
        ("  ", "abc"),
        ("TEA room", "a"),
        ("room tea", "a"),
        ("双溪", "b"),
        ("哪里 双溪号", "b"),
        ("strasse", "c"),
        ("STRASSE CAFÉ", "c"),
        ("cafe\u0301", "c"),
        ("tea 双溪", ""),
        ("%", ""),
        ("_ea", ""),
    ],
)
def test_a_search_finds_words_in_any_case_and_chinese(one_home, words, found):
    home = one_home / "search"
    if not home.exists():
        for title, text in [("c", "Straße, café"), ("b", "双溪号停在哪里？"), ("a", "the Tea Room")]:
            store.add_turn(home, store.begin(home, title, "x"), told_of(text, f"Question {title}"))
    assert "".join(one.title[-1] for one in store.conversations(home, words)) == found


# feedback


def test_feedback_is_what_was_said_last(tmp_path, talk):
    turns = [store.add_turn(tmp_path, talk, told_of()) for _ in range(3)]
    said = Feedback(False, "at nine\u2028", "no. 九")
    store.give_feedback(tmp_path, turns[0], Feedback(True))
    store.give_feedback(tmp_path, turns[0], said)
    store.give_feedback(tmp_path, turns[2], Feedback(note="?"))
    assert store.feedback_of(tmp_path, turns) == {turns[0]: said, turns[2]: Feedback(note="?")}
    assert store.feedback_of(tmp_path, turns[1:2]) == store.feedback_of(tmp_path, []) == {}
    assert [(turn.id, one) for turn, one in store.all_feedback(tmp_path)] == [
        (turns[0], said),
        (turns[2], Feedback(note="?")),
    ]
    store.give_feedback(tmp_path, turns[0], Feedback())
    assert list(store.feedback_of(tmp_path, turns)) == [turns[2]]


# what is deleted


def test_a_deleted_conversation_takes_everything_with_it(tmp_path):
    kept, gone = store.begin(tmp_path, "kept title", "x"), store.begin(tmp_path, "GONE title", "x")
    for n in range(30):  # so many that pages of the file are split and joined
        store.add_turn(tmp_path, kept, told_of(f"kept {n} " * (1 + n * n % 90)))
        turn = store.add_turn(tmp_path, gone, told_of(f"GONE {n} " * (1 + n * n % 90), f"GONE {n}"))
        store.give_feedback(tmp_path, turn, Feedback(True, f"GONE {n}", "GONE"))
        store.add_branch(tmp_path, turn, told_of("GONE too").answer)
    before = store.turns(tmp_path, kept)
    assert b"GONE" in (tmp_path / "app" / store.FILE).read_bytes()
    store.delete(tmp_path, gone)
    assert all(b"GONE" not in file.read_bytes() for file in (tmp_path / "app").iterdir())
    assert store.turns(tmp_path, kept) == before
    assert store.all_feedback(tmp_path) == []
    assert [one.id for one in store.conversations(tmp_path)] == [kept]


def test_what_comes_after_it_was_deleted_is_refused_or_forgotten(tmp_path, talk):
    turn = store.add_turn(tmp_path, talk, told_of())
    store.delete(tmp_path, talk)
    for late in (store.turns, store.conversation, lambda *to: store.add_turn(*to, told_of())):
        with pytest.raises(InputError, match="was deleted"):
            late(tmp_path, talk)
    assert store.add_branch(tmp_path, turn, AN_ANSWER) == 0
    store.change_turn(tmp_path, turn, evidence=EVIDENCE)
    store.give_feedback(tmp_path, turn, Feedback(True))
    store.delete(tmp_path, talk)
    assert store.feedback_of(tmp_path, [turn]) == {}
    again = store.begin(tmp_path, "another", "x")
    assert again != talk, "an id is never given twice"
    assert store.turns(tmp_path, again) == []


@pytest.mark.parametrize("number", [0, -1, 2**63, 10**40])
def test_a_number_from_an_address_that_is_no_conversation_is_a_sentence(tmp_path, number):
    with pytest.raises(InputError, match="was deleted"):
        store.conversation(tmp_path, number)


# what stays


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path, talk):
    acknowledged = []
    for kill in (1, 4, 9):
        writer = writing(tmp_path, "turn", talk, 999)
        lines = [writer.stdout.readline() for _ in range(kill)]
        os.kill(writer.pid, signal.SIGKILL)
        lines += [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        acknowledged += map(int, lines)
        turns = store.turns(tmp_path, talk)
        assert set(acknowledged) <= {turn.id for turn in turns}
        assert all(turn.told == TOLD for turn in turns)
    assert raw(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_what_processes_and_threads_write_at_once_is_all_there(tmp_path, talk):
    turn, done = store.add_turn(tmp_path, talk, told_of()), []
    processes = [writing(tmp_path, "branch", turn, 12) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda: done.extend(store.add_branch(tmp_path, turn, AN_ANSWER) for _ in range(12)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        done += map(int, process.communicate()[0].split())
    assert sorted(done) == [*range(1, 49)]
    assert len(store.turns(tmp_path, talk)[0].told.branches) == 48


def test_many_may_be_the_first(tmp_path):
    begun = []
    threads = [threading.Thread(target=lambda: begun.append(store.begin(tmp_path, "q", "x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == [*range(1, 9)]


def test_it_is_for_the_owner_alone(tmp_path, talk):
    assert (tmp_path / "app").stat().st_mode & 0o777 == 0o700


# what cannot be read

CALLS = [
    lambda home: store.begin(home, "q", "x"),
    lambda home: store.add_turn(home, 1, told_of()),
    lambda home: store.change_turn(home, 1, evidence=None),
    lambda home: store.add_branch(home, 1, AN_ANSWER),
    lambda home: store.turns(home, 1),
    lambda home: store.conversations(home, "q"),
    lambda home: store.delete(home, 1),
    lambda home: store.give_feedback(home, 1, Feedback(True)),
    lambda home: store.feedback_of(home, [1]),
    store.all_feedback,
]


def newer(content, file):
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()


def foreign(content, file):
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE conversations (id INTEGER)")
    connection.close()


DAMAGES = {
    "its format is": newer,
    "its format is 0": foreign,
    "not a database": lambda content, file: file.write_bytes(os.urandom(len(content))),
    "malformed": lambda content, file: file.write_bytes(content[: len(content) // 2 // 4096 * 4096]),
}


@pytest.mark.parametrize("says", DAMAGES)
def test_a_file_that_is_damaged_newer_or_of_others_is_a_sentence_and_stays(tmp_path, talk, says):
    store.add_turn(tmp_path, talk, told_of("x" * 9999))
    file = tmp_path / "app" / store.FILE
    DAMAGES[says](file.read_bytes(), file)
    before = file.read_bytes()
    for call in CALLS:
        with pytest.raises(InputError, match=rf"app\.sqlite cannot be used \(.*{says}.*move it away"):
            call(tmp_path)
    assert file.read_bytes() == before


def test_a_place_that_cannot_hold_it_is_a_sentence(tmp_path):
    (tmp_path / "a" / "app" / store.FILE).mkdir(parents=True)
    (tmp_path / "b").write_text("a file")
    for home, says in ((tmp_path / "a", "cannot be used now"), (tmp_path / "b", "cannot be made")):
        with pytest.raises(InputError, match=says):
            store.conversations(home)


def bare(value):
    """What an older version knew of it: whatever has a default by now was not there."""
    if isinstance(value, tuple):
        return tuple(map(bare, value))
    if not dataclasses.is_dataclass(value):
        return value
    known = [f for f in dataclasses.fields(value) if f.default is f.default_factory is dataclasses.MISSING]
    return type(value)(**{f.name: bare(getattr(value, f.name)) for f in known})


def written_then(value):
    """As that version would have written it."""
    if isinstance(value, tuple):
        return [written_then(one) for one in value]
    if not dataclasses.is_dataclass(value):
        return value
    known = [f for f in dataclasses.fields(value) if f.default is f.default_factory is dataclasses.MISSING]
    return {f.name: written_then(getattr(value, f.name)) for f in known}


@settings(max_examples=20)
@for_all(told=anything_told)
def test_what_an_older_version_stored_opens_with_defaults(one_home, told):
    number = store.begin(one_home, "q", "x")
    turn = store.add_turn(one_home, number, told)
    raw(one_home, "UPDATE turns SET told = ? WHERE id = ?", json.dumps(written_then(told)), turn)
    (found,) = store.turns(one_home, number)
    assert found.told == bare(told)


@pytest.mark.parametrize("stored", ["", "{}", "no JSON", '{"answer": 1}', as_json(TOLD)[:-9], "[" * 9999])
def test_one_answer_that_cannot_be_read_costs_no_more_than_itself(tmp_path, talk, stored):
    turns = [store.add_turn(tmp_path, talk, told_of(f"answer {n}", f"question {n}")) for n in range(3)]
    raw(tmp_path, "UPDATE turns SET told = ? WHERE id = ?", stored, turns[1])
    store.give_feedback(tmp_path, turns[1], Feedback(True))
    for shown in (store.turns(tmp_path, talk), [turn for turn, _ in store.all_feedback(tmp_path)]):
        assert [turn.told for turn in shown if turn.id != turns[1]] == [
            told_of(f"answer {n}", f"question {n}") for n in (0, 2) if len(shown) > 1
        ]
        (left,) = [turn.told for turn in shown if turn.id == turns[1]]
        assert (left.answer.prompt.question, left.answer.text) == ("question 1", "answer 1")
        assert (left.answer.reason, left.settings["collection"]) == (UNREADABLE, "papers")
    assert [one.id for one in store.conversations(tmp_path, "answer 1")] == [talk]
    with pytest.raises(InputError, match="cannot be read"):
        store.change_turn(tmp_path, turns[1], evidence=EVIDENCE)
    with pytest.raises(InputError, match="cannot be read"):
        store.add_branch(tmp_path, turns[1], AN_ANSWER)
    assert raw(tmp_path, "SELECT told FROM turns WHERE id = ?", turns[1]) == [(stored,)], "it stays as it is"
