"""The container's files against the program: no image is built, but nothing they name may be missing or differ."""

import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest
import yaml

from rag.settings import NAMES, load_settings
from ui.cli import _parser

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "docker-compose.yml", "docs/docker.md")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def instructions():
    """The Dockerfile as (instruction, its arguments), continued lines joined and comments left out."""
    lines = [line for line in read("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def arguments_of(instruction):
    return [arguments for name, arguments in instructions() if name == instruction]


def environment():
    return dict(pair.split("=", 1) for arguments in arguments_of("ENV") for pair in shlex.split(arguments))


def copied():
    """What the Dockerfile copies from the repository."""
    return [source.rstrip("/") for arguments in arguments_of("COPY") for source in arguments.split()[:-1]]


def health_command():
    (check,) = arguments_of("HEALTHCHECK")
    return json.loads(check.split("CMD", 1)[1])


def health_url():
    return urlsplit(re.search(r"http://[^']+", health_command()[-1])[0])


def ui_options():
    (command,) = arguments_of("CMD")
    return _parser().parse_args(json.loads(command)[1:])


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(read("docker-compose.yml"))


@pytest.fixture(scope="module")
def app(compose):
    return compose["services"]["app"]


def rag_commands():
    """Every command line of `rag` in the files, as words without `rag` itself."""
    found = [json.loads(a) for a in arguments_of("CMD")] + [shlex.split(a) for a in arguments_of("RUN")]
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", read("docs/docker.md"), re.DOTALL))
    found += [shlex.split(line[line.index(" rag ") :]) for line in blocks.splitlines() if " rag " in line]
    found += [shlex.split(code) for code in re.findall(r"`(rag [^`]+)`", read("docs/docker.md"))]
    return [words[1:] for words in found if words[0] == "rag"]


@pytest.mark.parametrize("words", rag_commands(), ids=" ".join)
def test_commands_parse(words):
    assert callable(_parser().parse_args(words).run)


def test_the_commands_were_found():
    kinds = {words[0] for words in rag_commands()}
    assert {"models", "ui", "ingest", "ask"} <= kinds  # an empty parametrize above would pass unseen


@pytest.mark.parametrize("file", FILES)
def test_variables_are_settings(file):
    variables = set(re.findall(r"\bRAG_\w+", read(file)))
    assert variables
    assert variables <= {f"RAG_{name.upper()}" for name in NAMES}


def test_page_is_published_on_this_machine_only(app):
    port = ui_options().port
    assert app["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert arguments_of("EXPOSE") == [str(port)]
    assert ui_options().address == "0.0.0.0"  # inside the container, or the published port would lead nowhere
    assert f"<http://127.0.0.1:{port}>" in read("docs/docker.md")


def test_user_is_not_root(app):
    names = [name for name, _ in instructions()]
    (user,) = arguments_of("USER")
    assert int(user.split(":")[0]) > 0
    assert f"--uid {user.split(':')[0]} " in " ".join(arguments_of("RUN"))
    assert ("RUN", "rag models prepare") in instructions()[names.index("USER") :]  # else the models would be root's
    assert "user" not in app


def test_copied_files_exist_and_reach_the_build():
    assert [source for source in copied() if not (ROOT / source).exists()] == []
    kept = [line for line in read(".dockerignore").splitlines() if line.startswith("!")]
    assert "\n*\n" in read(".dockerignore")
    assert sorted(kept) == sorted(f"!{source}" for source in copied())


def test_the_package_is_copied_whole():
    project = tomllib.loads(read("pyproject.toml"))
    packages = [pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    assert {*packages, project["project"]["readme"], *project["project"]["license-files"]} <= set(copied())


def test_torch_is_the_pinned_one():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    (pinned,) = [requirement for requirement in project["dependencies"] if requirement.startswith("torch==")]
    assert any(pinned in arguments.split() for arguments in arguments_of("RUN"))


def test_volumes_lie_where_the_program_writes(compose, app):
    settings = load_settings(environ=environment(), project_file=ROOT / "none.toml", user_file=ROOT / "none.toml")
    mounts = dict(mount.split(":", 1) for mount in app["volumes"] if not mount.startswith("$"))
    own = {"collections": f"{settings.home}/collections", "models": str(settings.models_dir)}
    assert mounts == own | {"app": f"{settings.home}/app"}
    assert set(compose["volumes"]) == set(mounts)
    assert settings.collection_dir.parent == Path(mounts["collections"])
    made = " ".join(arguments_of("RUN")).split()
    assert set(mounts.values()) <= set(made)  # a new volume takes over the owner of the folder that it covers
    assert PurePosixPath(environment()["HF_HOME"]).is_relative_to(mounts["models"])


def test_documents_are_mounted_read_only(app):
    (mount,) = [mount for mount in app["volumes"] if mount.startswith("$")]
    default, target, mode = re.fullmatch(r"\$\{DOCUMENTS:-(.+)\}:(.+):(\w+)", mount).groups()
    assert (ROOT / default).is_dir()
    assert mode == "ro"
    ingested = [words[1] for words in rag_commands() if words[0] == "ingest"]
    assert set(ingested) == {target}


def streamlit_sources(name):
    """Read as text: importing Streamlit takes longer than all these tests."""
    package = Path(importlib.util.find_spec("streamlit").submodule_search_locations[0])
    return [path.read_text(encoding="utf-8") for path in package.glob(name)]


def test_health_check_asks_streamlit(app):
    assert health_url().port == ui_options().port
    compile(health_command()[-1], "HEALTHCHECK", "exec")
    assert app["healthcheck"]["test"] == ["CMD", *health_command()]
    route = f'"{health_url().path.lstrip("/")}"'
    assert any(route in source for source in streamlit_sources("web/server/**/*.py"))


def test_only_volumes_are_writable(app):
    assert app["read_only"] is True
    assert app["cap_drop"] == ["ALL"]
    assert app["security_opt"] == ["no-new-privileges:true"]


def test_base_image_is_a_python_that_the_package_takes():
    (base,) = arguments_of("FROM")
    major, minor = re.fullmatch(r"python:(\d+)\.(\d+)-slim", base).groups()
    least = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"].removeprefix(">=")
    assert (int(major), int(minor)) >= tuple(int(part) for part in least.split("."))
