"""Anything that the app can be told to keep: any answer that the types allow, with hostile and Chinese text."""

import dataclasses
import types
import typing
from collections.abc import Mapping

from hypothesis import strategies as st

from rag.evidence import Citation
from rag.schema import Answer, Contrast, SamplingParams
from tests.token_answers import answer_of, retrieved, steps_of
from ui.store import Turn
from ui.told import Told

HOSTILE = [
    "</div><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[a](javascript:alert(1)) ![i](http://evil.example/i.png) <http://evil.example>",
    "http://evil.example www.evil.example me@evil.example",
    "# a heading\n\n- one\n1. two\n> three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "a heading\n=====\nanother\n-----\n",
    "```sh\nrm -rf /\n```\n    four blanks\n\ttab",
    "`a` *b* **c** _d_ ~~e~~ $f$ :smile: &lt; &#60; \\",
    "停靠在双溪的船叫什么？",
    "line\u2028separator\u2029and\x85others\x0b\x0c",
    "nul \x00 and \x1b[31m",
    "right \u202e to left \u200b\ufeff",
]
texts = st.one_of(st.text(max_size=9), st.sampled_from(HOSTILE))
numbers = st.floats(allow_nan=False)  # nothing is equal to a NaN
whole = st.integers(-(2**60), 2**60)
params = st.builds(
    SamplingParams,
    temperature=st.floats(0, 9),
    seed=st.none() | st.integers(0, 2**53 - 1),
    stop=st.lists(st.sampled_from(["\n", "。", "\u2028", "\x00"]), max_size=2).map(tuple),
    logit_bias=st.sampled_from([(), ((7, -float("inf")),), ((0, 1.5), (2**40, -3.0))]),
)
rows = st.lists(st.tuples(numbers, numbers, numbers, whole, whole), max_size=2)  # a token each
contrasts = st.builds(
    lambda rows, written, floor: Contrast(*(zip(*rows, strict=True) if rows else [()] * 5), written, floor),
    rows,
    st.integers(0, 2),
    numbers,
)
OF = {
    Contrast: contrasts,
    str: texts,
    float: numbers,
    int: whole,
    bool: st.booleans(),
    type(None): st.none(),
    SamplingParams: params,
}


def of(hint):
    """Any value of a type, as the types of answers are written."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, arguments))
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*map(of, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is Mapping:
        return st.dictionaries(*map(of, arguments), max_size=2)
    if hint in OF:
        return OF[hint]
    hints = typing.get_type_hints(hint)
    return st.deferred(lambda: st.builds(hint, **{field.name: of(hints[field.name]) for field in _fields(hint)}))


def _fields(kind):
    return dataclasses.fields(kind)


def told_of(text="The tea room opens at ten.", question="When does it open?", passages=None, citations=(), **changes):
    """What is kept of a plain answer."""
    answer = answer_of(steps_of(text), question, passages)
    settings = {"collection": "papers", "template": "auto", "passages": 3}
    return Told(dataclasses.replace(answer, **changes), tuple(citations), settings)


def turn_of(told, number=1):
    return Turn(number, 1, 1.7e9, told)


def citing(rank, end, start=0, passage_start=0, passage_end=9):
    return Citation(start, end, rank, passage_start, passage_end, 1.0, 0.5)


def read_from(*passages, **more):
    """Passages with these texts, best first."""
    return tuple(retrieved(rank, f"Title {rank}", text, **more) for rank, text in enumerate(passages, start=1))


def lifted(nats, floor=0.001):
    return Contrast((0.0,), (-nats,), (-nats,), (1,), (1,), 1, floor)


anything_told = of(Told)
any_answer = of(Answer)
