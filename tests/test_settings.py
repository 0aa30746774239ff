"""Where a setting comes from, and what is refused."""

import dataclasses
import math
from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.settings import NAMES, Settings, load_settings
from ui.commands import sampling_params


@pytest.fixture
def load(tmp_path):
    def load_with(flags=None, environ=None, project="", user=""):
        files = []
        for name, text in (("project.toml", project), ("user.toml", user)):
            files.append(tmp_path / name)
            files[-1].write_text(text)
        return load_settings(flags or {}, environ or {}, *files)

    return load_with


def test_flag_beats_environment_beats_project_beats_user_beats_default(load):
    layers = {"flags": {"top_k": 1}, "environ": {"RAG_TOP_K": "2"}, "project": "top_k = 3", "user": "top_k = 4"}
    expected = [1, 2, 3, 4, Settings().top_k]
    sources = ["flag", "environment", "project file", "user file", "default"]
    for value, source in zip(expected, sources, strict=True):
        settings = load(**layers)
        assert settings.top_k == value
        assert settings.sources["top_k"].startswith(source)
        layers.pop(next(iter(layers)), None) if layers else None


def test_each_setting_has_a_source(load):
    assert set(load().sources) == set(NAMES)


def test_every_control_of_the_sampling_loop_is_a_setting(load):
    given = {
        **{"max_new_tokens": 9, "min_new_tokens": 2, "temperature": 0.5, "top_k": 7, "top_p": 0.8, "min_p": 0.1},
        **{"typical_p": 0.7, "repetition_penalty": 1.1, "no_repeat_ngram": 3, "penalties_read_prompt": True, "seed": 4},
        **{"stop_at_sentence_end": True, "logit_bias": "3:-inf, 5:1.5"},
    }
    plain = {"beams": 1, "length_penalty": 1.0}  # nothing goes with beams
    plain["begin_suppress_tokens"] = ()  # the program's own, for an answer that may not decline
    params = sampling_params(load(environ={f"RAG_{name.upper()}": str(value) for name, value in given.items()}), ("x",))
    expected = given | plain | {"logit_bias": ((3, -math.inf), (5, 1.5)), "stop": ("x",), "alternatives": 5}
    assert dataclasses.asdict(params) == expected


@pytest.mark.parametrize("text", ["3", "3:x", "a:1", "3:1:2", "3=1"])
def test_a_bias_that_cannot_be_read_is_one_sentence(load, text):
    with pytest.raises(SettingsError, match="must be written ID:VALUE"):
        sampling_params(load(flags={"logit_bias": text}), ())


def test_values_get_their_types(load):
    environ = {"RAG_SEED": "7", "RAG_TEMPERATURE": "0.5", "RAG_STOP_AT_SENTENCE_END": "true", "RAG_HOME": "~/x"}
    settings = load(environ=environ)
    assert (settings.seed, settings.temperature, settings.stop_at_sentence_end) == (7, 0.5, True)
    assert settings.home == Path.home() / "x"
    assert settings.collection_dir == settings.home / "collections" / "default"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"environ": {"RAG_TOP_K": "many"}}, "top_k from environment must be a int, not 'many'"),
        ({"flags": {"seed": "x"}}, "seed from flag must be a whole number"),
        ({"project": "colour = 1"}, "Unknown setting 'colour' in project file"),
        ({"user": "top_k ="}, "cannot be read"),
        ({"flags": {"collection": "../escape"}}, "cannot be used"),
        ({"flags": {"collection": ""}}, "cannot be used"),
        ({"flags": {"passages": "0"}}, "between 1 and 100"),
        ({"environ": {"RAG_STOP_AT_SENTENCE_END": "maybe"}}, "must be a bool"),
    ],
)
def test_wrong_settings_are_one_sentence(load, wrong, says):
    with pytest.raises(SettingsError, match="(?s)" + says.replace("(", r"\(")):
        load(**wrong)
