"""The command `rag`: what it prints, its exit codes, and that it sends nothing anywhere."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import EXAMPLES

FAST = ["--language-model", "TINY", "--template", "plain", "--max-new-tokens", "4", "--quiet"]


def test_ask_prints_answer_sources_and_tokens(rag):
    code, out, _ = rag("ask", "When is high tide?", "Who is the safety officer?", *FAST)
    assert code == 0
    for part in (
        "When is high tide?",
        "Who is the safety officer?",
        "Sources",
        "[1]",
        "Tokens",
        "not calibrated",
        "seed",
    ):
        assert part in out


def test_ask_as_data(rag):
    code, out, _ = rag(
        "ask", "Who is the safety officer?", "--json", "--temperature", "1", "--top-k", "2", "--seed", "5", *FAST
    )
    answer = json.loads(out)
    assert code == 0
    assert (answer["params"]["seed"], answer["params"]["top_k"], len(answer["steps"])) == (5, 2, 4)
    assert answer["prompt"]["passages"][0]["passage"]["source"].startswith(str(EXAMPLES))
    again = json.loads(
        rag("ask", "Who is the safety officer?", "--json", "--temperature", "1", "--top-k", "2", "--seed", "5", *FAST)[
            1
        ]
    )
    assert again["steps"] == answer["steps"]


def test_search_names_every_score(rag):
    code, out, _ = rag("search", "name of the tea room", "--passages", "2")
    assert code == 0
    assert "The Caulker's Rest" in out
    assert all(name in out for name in ("fused", "cosine", "BM25"))
    assert "%" not in out
    assert len(json.loads(rag("search", "tea", "--json", "--passages", "2")[1])) == 2


def test_chinese_is_found_by_its_words(rag):
    found = json.loads(rag("search", "双溪号是什么船？", "--json", "--passages", "1")[1])
    assert found[0]["passage"]["source"].endswith("partner-agreement-zh.md")


def test_documents_and_settings_and_models(rag):
    code, out, _ = rag("documents", "list", "--json")
    assert (code, len(json.loads(out))) == (0, 11)
    assert "annual-report-2024.pdf" in rag("documents", "list")[1]
    assert json.loads(rag("config", "show", "--json", "--top-k", "7")[1])["top_k"] == {"value": 7, "source": "flag"}
    assert "environment" in rag("config", "show")[1]
    assert [row["here"] for row in json.loads(rag("models", "list", "--json")[1]) if row["name"] == "embedded"] == [
        True,
        True,
    ]
    assert "Qwen" in rag("models", "list")[1]
    assert rag("models", "prepare")[0] == 0


def test_eval_writes_a_line_a_question_and_prints_metrics(rag, tmp_path):
    data = tmp_path / "two.jsonl"
    data.write_text("\n".join((EXAMPLES / "questions.jsonl").read_text().split("\n")[:2]))
    code, out, _ = rag("eval", "answers", data, "--out", tmp_path / "run", "--json", *FAST)
    result = json.loads(out)
    assert (code, result["questions"]) == (0, 2)
    assert {"exact_match", "f1", "contained", "seconds_per_question"} <= set(result["metrics"])
    assert len((tmp_path / "run" / "answers.jsonl").read_text().splitlines()) == 2
    assert "exact_match" in rag("eval", "answers", data, "--out", tmp_path / "run", *FAST)[1]


def test_ingest_in_part_is_exit_code_3(rag, tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "good.txt").write_text("A good text.")
    (folder / "bad.pdf").write_text("no pdf")
    place = ["--collection", "partly", "--quiet"]
    code, out, err = rag("ingest", folder, *place)
    assert (code, "1 added" in out, "bad.pdf: it is damaged or not a PDF" in err) == (3, True, True)
    assert json.loads(rag("ingest", folder, "--json", *place)[1])["unchanged"] == 1
    assert "not read" in rag("documents", "list", *place)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ask", "", *FAST], 2, "The question is empty"),
        (["ask"], 2, "required"),
        (["search", " "], 2, "The question is empty"),
        (["ask", "x", "--language-model", "no-such"], 4, "Unknown language model 'no-such'"),
        (["ask", "x", "--language-model", "multilingual"], 4, "rag models fetch multilingual"),
        (["ask", "x", "--embedder", "no-such"], 4, "Unknown embedder"),
        (["ask", "x", "--device", "cuda:7", *FAST], 4, "not available here"),
        (["ask", "x", "--template", "poem", *FAST[:2]], 2, "Unknown template 'poem'"),
        (["ask", "x", "--temperature", "-1"], 2, "temperature must be 0 or more"),
        (["ask", "x", "--min-new-tokens", "99"], 2, "min_new_tokens must be between 0 and max_new_tokens"),
        (["ask", "x", "--logit-bias", "3"], 2, "logit_bias must be written ID:VALUE,ID:VALUE, not '3'"),
        (["ask", "x", "--temperature", "hot"], 2, "temperature from flag must be a float"),
        (["ask", "x", "--collection", "none"], 1, "There is no collection 'none'"),
        (["ask", "x", "--collection", "a/b"], 2, "cannot be used"),
        (["ask", "why " * 3000, *FAST], 1, "ask a shorter question"),
        (["ask", "x", "--template", "/no/such.toml", *FAST[:2]], 2, "cannot be read"),
        (
            ["ask", "x", "--examples-file", "/no/such.jsonl", *FAST],
            2,
            "The examples file /no/such.jsonl cannot be read",
        ),
        (["ask", "x", "--examples", "-1", *FAST], 2, "examples must be between 0 and 20"),
        (["ask", "x", "--target-language", "{question}", *FAST], 2, "must be the name of a language"),
        (["ask", "x", *FAST[:4], "--max-new-tokens", "9000"], 1, "leaves nothing of the model's context window"),
        (["ask", "x", *FAST[:4], "--max-new-tokens", "8150"], 1, "do not fit into 42 tokens"),
        (["documents", "list", "--collection", "none"], 1, "rag ingest PATH"),
        (["ingest", "/no/such/folder"], 2, "check the path"),
        (["ingest", "EMPTY"], 2, "nothing was changed"),
        (["eval", "answers", "/no/such.jsonl", "--out", "EMPTY", *FAST], 2, "cannot be read"),
        (["models", "fetch", "org/model"], 4, "40 hex digits"),
        (["nonsense"], 2, "invalid choice"),
        (["ask", "caf\udce9", *FAST], 2, "not valid text"),
        (["ingest", EXAMPLES, "--home", "/proc/nowhere"], 1, "cannot be used"),
        (["config", "show", "--home", "~no-such-user-here/x"], 2, "home from flag"),
        (["search", "x", "--collection", "c" * 300], 2, "up to 100"),
        (["ui", "--temperature", "-1"], 2, "temperature must be 0 or more"),
        (["ui", "--template", "poem"], 2, "Unknown template 'poem'"),
        (["eval", "answers", EXAMPLES / "questions.jsonl", "--out", "/dev/null", *FAST], 1, "cannot be used"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(rag, tmp_path, arguments, code, says):
    before = rag("documents", "list", "--json")[1]
    got, out, err = rag(*[tmp_path if a == "EMPTY" else a for a in arguments])
    assert got == code
    assert says in " ".join(err.split())
    assert out == ""
    assert rag("documents", "list", "--json")[1] == before, "nothing stored is lost"


def test_a_collection_made_with_another_embedder_is_refused(rag, home, tmp_path):
    from rag.models import bundled_file

    other = tmp_path / "other-embedder"
    shutil.copytree(bundled_file("embedder"), other)
    (other / "sentence_bert_config.json").write_text('{"max_seq_length": 128, "do_lower_case": false}')
    for arguments in (["search", "tea"], ["ingest", EXAMPLES / "documents"]):
        code, _, err = rag(*arguments, "--embedder", other)
        assert (code, "made with another embedder (embedded)" in err) == (4, True)
    assert len(json.loads(rag("documents", "list", "--json")[1])) == 11


def test_a_locked_collection_is_exit_code_5(rag, home):
    from filelock import FileLock

    with FileLock(home / "collections" / "examples" / "writer.lock"):
        code, _, err = rag("ingest", EXAMPLES / "documents")
    assert (code, "wait until it ends" in err) == (5, True)


@pytest.mark.parametrize("setting", ["RAG_TOP_K=x", "RAG_COLLECTION=../.."])
def test_a_wrong_setting_in_the_environment(rag, monkeypatch, setting):
    monkeypatch.setenv(*setting.split("="))
    assert rag("config", "show")[0] == 2


OFFLINE = """
import sys
def closed(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        raise OSError(f"a socket was used: {event} {arguments}")
sys.addaudithook(closed)
import socket
try:
    socket.create_connection(("127.0.0.1", 9))
except OSError as error:
    assert "a socket was used" in str(error)
from ui.cli import main
for command in COMMANDS:
    code = main(command)
    assert code == 0, (command, code)
print("all done")
"""


def test_ingest_ask_and_eval_run_with_every_socket_closed(home, tmp_path):
    """With the bundled models, as a new user has them."""
    (tmp_path / "models").symlink_to(home / "models")
    data = tmp_path / "one.jsonl"
    data.write_text((EXAMPLES / "questions.jsonl").read_text().split("\n")[0])
    place = ["--home", str(tmp_path), "--quiet"]
    few = ["--max-new-tokens", "3"]
    commands = [
        ["ingest", str(EXAMPLES / "documents" / "handbook"), *place],
        ["search", "tools", *place],
        ["ask", "How long may a tool be borrowed?", *place, *few],
        ["eval", "answers", str(data), "--out", str(tmp_path / "run"), *place, *few],
    ]
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE.replace("COMMANDS", repr(commands))], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all done\n")


@pytest.mark.parametrize(("address", "told"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost")])
def test_the_app_is_started_closed(rag, monkeypatch, address, told):
    """It is told its address, since Streamlit otherwise asks a service in the internet for it."""
    from ui import commands

    started = []
    monkeypatch.setattr(commands.os, "execve", lambda program, command, env: started.append((command, env)))
    rag("ui", "--address", address, "--port", "1234", "--top-k", "7")
    command, environment = started[0]
    assert {
        f"--server.address={address}",
        f"--browser.serverAddress={told}",
        "--browser.gatherUsageStats=false",
    } <= set(command)
    assert environment["RAG_TOP_K"] == "7"


def test_a_model_named_like_markup_is_printed_as_it_is(rag, tiny_folder, tmp_path):
    folder = tmp_path / "[bold]"
    folder.symlink_to(tiny_folder("llama"))
    arguments = ["--language-model", folder, "--template", "plain", "--max-new-tokens", "2"]
    code, _, err = rag("ask", "Who?", *arguments)
    assert (code, "[bold] on cpu" in err) == (0, True)


def test_dots_in_a_path_are_one_folder(rag, tmp_path):
    folder = tmp_path / "documents"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("A text.")
    place = ["--collection", "dots", "--quiet", "--json"]
    rag("ingest", folder / "inner" / "..", *place)
    assert json.loads(rag("ingest", folder, *place)[1])["unchanged"] == 1


def test_nothing_that_a_terminal_obeys_is_printed():
    from ui.terminal import printable

    assert printable("a\x1b[2Jb\x9bc\td\n船") == "a\ufffd[2Jb\ufffdc\td\n船"


def lines(*texts):
    return io.StringIO("".join(f"{text}\n" for text in texts))


def test_chat_reads_lines_and_searches_for_what_a_follow_up_leans_on(rag, monkeypatch):
    monkeypatch.setattr(sys, "stdin", lines("Who looks after the tool library?", "", "What is his extension?"))
    code, out, _ = rag("chat", "--json", *FAST)
    first, second = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert first["prompt"]["search_question"] == "Who looks after the tool library?"
    assert second["prompt"]["search_question"] == "Who looks after the tool library? What is his extension?"
    assert second["prompt"]["question"] == "What is his extension?"
    assert second["prompt"]["history"] == [{"question": "Who looks after the tool library?", "answer": first["text"]}]
    assert "Tobias Achterberg" in second["prompt"]["text"]
    monkeypatch.setattr(sys, "stdin", lines("Who looks after the tool library?", "What is his extension?"))
    assert "searched for: Who looks after the tool library? What is his extension?" in rag("chat", *FAST)[1]


def test_a_chat_goes_on_after_a_question_that_fails(rag, monkeypatch):
    monkeypatch.setattr(sys, "stdin", lines("why " * 3000, "When is high tide?"))
    code, out, _ = rag("chat", "--json", *FAST)
    failed, answered = [json.loads(line) for line in out.splitlines()]
    assert code == 3
    assert "shorter question" in failed["error"]
    assert answered["prompt"]["history"] == []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    code, _, err = rag("chat", *FAST)
    assert (code, "not valid text" in err) == (2, True)


def test_control_c_stops_the_answer_and_the_chat_goes_on(rag, monkeypatch):
    class Typist:
        """Types a question, presses Ctrl-C while it is answered, types another."""

        def __init__(self):
            self.questions = ["When is high tide?\n", "Who is the chair?\n", ""]

        def isatty(self):
            return False

        def readline(self):
            if len(self.questions) == 3:
                threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            return self.questions.pop(0)

    monkeypatch.setattr(sys, "stdin", Typist())
    long = ["--language-model", "TINY", "--template", "chat", "--max-new-tokens", "7000"]
    code, out, _ = rag("chat", "--json", "--quiet", *long)
    first, second = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert first["finish_reason"] == "cancelled" or not first["steps"], "None where no token was written yet"
    assert len(first["prompt"]["history"]) == 0
    said = len(second["prompt"]["history"]) + second["prompt"]["turns_left_out"]
    assert said == bool(first["text"].strip()), "what was stopped before a word of it was written is no turn"


def test_a_second_control_c_interrupts():
    from ui.chat import _stoppable

    def press_twice():
        with _stoppable() as cancelled:
            os.kill(os.getpid(), signal.SIGINT)
            assert cancelled.wait(5)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_own_templates_and_examples_reach_the_prompt(rag, tmp_path):
    template = tmp_path / "mine.toml"
    template.write_text('text = """\nSpeak like a sailor.\n\n{passages}\n\nQ: {question}\nA:"""\n')
    file = EXAMPLES / "questions.jsonl"
    arguments = ["--template", f"{template}:plain", "--examples-file", file, "--examples", "1", *FAST[:2], *FAST[4:]]
    code, out, _ = rag("ask", "When is high tide?", "--json", *arguments)
    text = json.loads(out)["prompt"]["text"]
    assert code == 0
    assert "Speak like a sailor.\n\n" in text
    assert "short of money?\nA: up to three quarters of a membership fee\n\n\t" in text
    assert text.count("\nA:") == 2


def test_templates_are_listed(rag):
    from rag.templates import TEMPLATES

    assert list(json.loads(rag("config", "templates", "--json")[1])) == list(TEMPLATES)
    assert all(name in rag("config", "templates")[1] for name in TEMPLATES)
    assert all(name in rag("ask", "--help")[1] for name in TEMPLATES)


def test_a_given_text_is_translated_without_a_search(rag):
    arguments = ["--template", "text-translation", "--target-language", "French", *FAST[:2], *FAST[4:]]
    answer = json.loads(rag("ask", "Good morning.", "--json", *arguments)[1])
    assert (answer["prompt"]["passages"], answer["prompt"]["search_question"]) == ([], None)
    assert answer["prompt"]["text"].endswith("Text: Good morning.\nIn French:<|end|><|start|>")
    assert answer["steps"]


def test_what_was_left_out_is_said(rag):
    arguments = ["--template", "plain", "--max-new-tokens", "7600", "--stop", "e", "--passages", "10"]
    _, out, _ = rag("ask", "When is high tide?", *FAST[:2], "--quiet", *arguments)
    assert re.search(r"^\d+ of 10 matching passages read", out, re.MULTILINE)
