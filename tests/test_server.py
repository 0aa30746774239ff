"""The app's server, started as `rag ui` starts it: its headers, its policy, and by which names it may be called."""

import argparse
import base64
import hashlib
import os
import re
import socket
import subprocess
import time
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path

import pytest

import ui
from rag.errors import SettingsError
from ui.cli import main
from ui.server import policy
from ui.serving import allowed_hosts, location, streamlit_command

LISTED = ["books.example", "*.wild.example"]
SOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode(),
}


def options(**changes):
    given = {"address": "127.0.0.1", "port": 8501, "allow_host": [], "upload_limit": 200}
    return argparse.Namespace(**given | changes)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(path, headers) -> the status, headers and body that a running server answers with."""
    home, port = tmp_path_factory.mktemp("home"), free_port()
    command = streamlit_command(options(port=port, allow_host=LISTED, upload_limit=7))
    environment = os.environ | {"HOME": str(home), "RAG_HOME": str(home)}
    with (home / "log").open("w") as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def ask(path, host="localhost", method="GET", **headers):
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request(method, path, headers={"Host": host, **headers})
            response = connection.getresponse()
            body = b"" if response.status == 101 else response.read()
            return response.status, response.headers, body
        finally:
            connection.close()

    began = time.monotonic()
    while True:
        try:
            ask("/_stcore/health")
            break
        except OSError:
            assert running.poll() is None, (home / "log").read_text()
            assert time.monotonic() - began < 60, "it does not come up"
            time.sleep(0.05)
    yield ask
    running.terminate()
    running.wait(20)


class Scripts(HTMLParser):
    """The inline scripts, handlers and addresses of a page."""

    def __init__(self, page):
        super().__init__()
        self.inline, self.addresses, self.handlers, self._open = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self._open = tag == "script" and "src" not in found
        self.inline += [""] * self._open
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        self.handlers += [name for name in found if name.startswith("on")]

    def handle_endtag(self, tag):
        self._open = self._open and tag != "script"

    def handle_data(self, text):
        if self._open:
            self.inline[-1] += text


def rules(text):
    return {name: values for name, *values in (part.split() for part in text.split("; "))}


# headers


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/", {}),
        ("/documents", {}),
        ("/no/such/page", {}),
        ("/static/no-such.js", {}),
        ("/_stcore/health", {}),
        ("/_stcore/host-config", {}),
        ("/media/no-such.png", {}),
        ("/component/no-such/index.html", {}),
        ("/../../etc/passwd", {}),
        ("/", {"host": "evil.example"}),
        ("/", {"method": "POST"}),
        ("/", {"method": "HEAD"}),
        ("/_stcore/upload_file/a/b", {"method": "PUT"}),
        ("/_stcore/stream", {"host": "evil.example", **SOCKET}),
    ],
)
def test_every_response_has_the_protecting_headers(server, path, more):
    _, headers, _ = server(path, **more)
    assert headers.get_all("Content-Security-Policy") == [policy()]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_the_page_and_its_parts_are_served(server):
    status, headers, body = server("/")
    assert (status, headers.get_content_type()) == (200, "text/html")
    parts = [address for address in Scripts(body.decode()).addresses if address.endswith((".js", ".css"))]
    assert parts
    for part in parts:
        status, headers, _ = server(f"/{part.removeprefix('.').removeprefix('/')}")
        assert status == 200
        assert headers["Content-Security-Policy"] == policy()
    assert server("/_stcore/health")[::2] == (200, b"ok")


# policy


def test_nothing_comes_from_outside_and_no_script_runs_but_the_known_ones(server):
    found = rules(policy())
    assert found["default-src"] == ["'self'"]
    assert found["object-src"] == found["frame-ancestors"] == ["'none'"]
    assert {"base-uri", "form-action"} <= set(found), "which the default does not cover"
    allowed = {"'self'", "'none'", "blob:", "data:"}
    for name, values in found.items():
        extra = {value for value in values if not value.startswith("'sha256-")} - allowed
        assert extra == ({"'unsafe-inline'"} if name == "style-src" else set()), name
    assert "data:" not in found["script-src"], "a text could be made a script"
    assert not any("data:" in found[name] for name in ("default-src", "worker-src"))


def test_each_inline_script_of_the_page_and_no_other_is_named_by_its_hash(server):
    page = Scripts(server("/")[2].decode())
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in page.inline
        if text.strip()
    }
    assert hashes == {value for value in rules(policy())["script-src"] if value.startswith("'sha256-")}
    assert hashes
    assert page.handlers == []
    assert not any(re.match(r"\w+:|//", address) for address in page.addresses), "nothing from elsewhere"


# names


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:8501", True),
        ("127.0.0.1:9", True),
        ("books.example", True),
        ("books.example:443", True),
        ("a.wild.example", True),
        ("a.b.wild.example", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:localhost", False),
        ("www.books.example", False),
        ("abooks.example", False),
        ("wild.example", False),
        ("0.0.0.0", False),
        ("[::1]", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("what", ["page", "socket"])
def test_only_known_names_are_served(server, host, known, what):
    path, more, good = {"page": ("/", {}, 200), "socket": ("/_stcore/stream", SOCKET, 101)}[what]
    assert server(path, host, **more)[0] == (good if known else 400)


def test_another_page_opens_no_socket_here(server):
    for origin, status in (("http://localhost:9", 101), ("http://evil.example", 403), ("null", 403)):
        assert server("/_stcore/stream", "localhost:9", **SOCKET, Origin=origin)[0] == status


def test_names_of_all_addresses_and_of_one():
    assert allowed_hosts("127.0.0.1", []) == ["127.0.0.1", "localhost"]
    assert allowed_hosts("192.168.1.5", ["nas"]) == ["127.0.0.1", "192.168.1.5", "localhost", "nas"]
    assert allowed_hosts("0.0.0.0", ["nas", "localhost"]) == ["127.0.0.1", "localhost", "nas"]
    both = ["127.0.0.1", "::1", "[::1]", "localhost"]
    assert allowed_hosts("::", []) == allowed_hosts("::1", []) == both, "with brackets and without: each is compared"


@pytest.mark.parametrize(
    "name", ["http://nas", "nas:8501", "a b", "", "a*b", "*x", "nas/", "user@nas", "**", "*.", "名前", "a\nb"]
)
def test_what_is_no_name_is_a_sentence(name, capsys):
    with pytest.raises(SettingsError, match="is no name of a machine"):
        allowed_hosts("127.0.0.1", [name])
    assert main(["ui", f"--allow-host={name}"]) == 2
    assert "without http:// and port" in capsys.readouterr().err


# the command line


def arguments(command):
    """The options of a command line: each with all its values."""
    found = {}
    for argument in command[5:]:
        name, value = argument.split("=", 1)
        found.setdefault(name, []).append(value)
    return found


def test_the_command_line_says_where_for_whom_and_how_much():
    command = streamlit_command(options(allow_host=["nas", "*.home"], upload_limit=50, port=9))
    assert command[1:4] == ["-m", "streamlit", "run"]
    assert Path(command[4]) == Path(ui.__file__).with_name("server.py")
    found = arguments(command)
    assert found["--server.address"] == ["127.0.0.1"]
    assert found["--server.port"] == ["9"]
    assert found["--server.maxUploadSize"] == ["50"]
    assert found["--server.allowedHosts"] == ["*.home", "127.0.0.1", "localhost", "nas"]
    assert found["--browser.gatherUsageStats"] == ["false"]
    assert found["--client.showErrorDetails"] == ["none"]


@pytest.mark.parametrize(
    ("address", "shown"), [("0.0.0.0", "localhost"), ("::", "localhost"), ("10.0.0.7", "10.0.0.7")]
)
def test_on_all_addresses_none_is_asked_for_in_the_internet(address, shown):
    found = arguments(streamlit_command(options(address=address)))
    assert (found["--server.address"], found["--browser.serverAddress"]) == ([address], [shown])


@pytest.mark.parametrize("wrong", [["--upload-limit", "0"], ["--upload-limit", "x"], ["--port", "x"]])
def test_wrong_numbers_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["ui", *wrong])
    assert stopped.value.code == 2


def test_an_address_is_written_as_a_browser_reads_it():
    assert location("127.0.0.1", 8501) == "http://127.0.0.1:8501"
    assert location("::1", 9) == "http://[::1]:9"
