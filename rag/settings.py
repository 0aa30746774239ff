"""Settings: flag > environment > project TOML > user TOML > default, and each value knows where it came from.

Knows names, types and sources; whether a model or a collection of that name exists is for others to find out.
"""

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs

from rag.errors import SettingsError

PROJECT_FILE = Path("rag.toml")
USER_FILE = Path(platformdirs.user_config_dir("openbook")) / "rag.toml"


def default_home() -> Path:
    """Where collections and prepared models lie unless `home` is set: the platform's folder for a user's data."""
    return Path(platformdirs.user_data_dir("openbook"))


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, flat. The environment variable of `top_k` is `RAG_TOP_K`, its key in TOML `top_k`."""

    home: Path = field(default_factory=default_home)
    collection: str = "default"
    embedder: str = "embedded"
    embedder_precision: str = "float32"
    language_model: str = "embedded"
    language_model_precision: str = "float32"
    adapter: str = "auto"
    confidence: str = "auto"  # none, or a file of `rag eval calibrate`
    device: str = "auto"
    passages: int = 3
    read_each: bool = False  # each passage by itself too, where an adapter for short answers serves
    rerank: str = "none"
    join: bool = False
    template: str = "auto"
    examples_file: Path | None = None
    examples: int | None = None
    target_language: str = "English"
    max_new_tokens: int = 64
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    penalties_read_prompt: bool = False
    logit_bias: str = ""  # ID:VALUE,ID:VALUE
    beams: int = 1
    length_penalty: float = 1.0
    seed: int | None = None
    stop_at_sentence_end: bool = False
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def models_dir(self) -> Path:
        """Prepared and fetched models."""
        return self.home / "models"

    @property
    def collection_dir(self) -> Path:
        """The chosen collection."""
        return self.home / "collections" / self.collection


NAMES = tuple(f.name for f in dataclasses.fields(Settings) if f.name != "sources")
_TYPES: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(Settings)}


def load_settings(
    flags: Mapping[str, object] = MappingProxyType({}),
    environ: Mapping[str, str] = os.environ,
    project_file: Path = PROJECT_FILE,
    user_file: Path = USER_FILE,
) -> Settings:
    """Merge the sources. Flags that are None count as not given. Raises `SettingsError`."""
    layers: list[tuple[str, Mapping[str, object]]] = [
        (f"user file {user_file}", _read_toml(user_file)),
        (f"project file {project_file}", _read_toml(project_file)),
        ("environment", _read_environment(environ)),
        ("flag", {name: value for name, value in flags.items() if value is not None}),
    ]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(NAMES, "default")
    for source, layer in layers:
        for name, value in layer.items():
            if name not in NAMES:
                raise SettingsError(f"Unknown setting {name!r} in {source}; use one of: {', '.join(NAMES)}.")
            values[name] = _convert(name, value, source)
            sources[name] = source
    settings = Settings(**values, sources=MappingProxyType(sources))
    _validate(settings)
    return settings


def _read_toml(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"The settings file {path} cannot be read ({error}); correct or remove it.") from error


def _read_environment(environ: Mapping[str, str]) -> Mapping[str, object]:
    return {name: environ[key] for name in NAMES if (key := f"RAG_{name.upper()}") in environ}


def _convert(name: str, value: object, source: str) -> object:
    """Bring a value from text or TOML to the field's type."""
    kind = _TYPES[name]
    text = str(value)
    try:
        if kind is Path:
            return Path(text).expanduser().absolute()
        if kind == Path | None:
            return Path(text).expanduser().absolute() if text else None
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind == int | None:
            return None if text == "" else int(text)
        return kind(text)
    except (ValueError, KeyError, RuntimeError):  # the last for a `~user` who does not exist
        wanted = getattr(kind, "__name__", "whole number")
        raise SettingsError(f"Setting {name} from {source} must be a {wanted}, not {value!r}.") from None


def _validate(settings: Settings) -> None:
    name = settings.collection
    if not 0 < len(name) <= 100 or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise SettingsError(
            f"Collection name {name!r} cannot be used; take up to 100 letters, digits, '-', '_' and '.'."
        )
    for part in ("embedder_precision", "language_model_precision"):
        if (precision := getattr(settings, part)) not in ("float32", "int8"):
            raise SettingsError(f"{part} must be float32 or int8, not {precision!r}.")
    if not 1 <= settings.passages <= 100:
        raise SettingsError(f"passages must be between 1 and 100, not {settings.passages}.")
    if settings.examples is not None and not 0 <= settings.examples <= 20:
        raise SettingsError(f"examples must be between 0 and 20, not {settings.examples}.")
    language = settings.target_language
    if not 0 < len(language.strip()) <= 50 or not all(c.isalnum() or c in " -()" for c in language):
        raise SettingsError(f"target_language must be the name of a language, such as French, not {language!r}.")
