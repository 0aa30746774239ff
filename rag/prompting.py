"""build_prompt(): a pure function of a template, a question and passages, within a budget of tokens.

Text that we wrote (trusted) and text from documents or people (untrusted) stay apart until they are encoded: in the
second, the names of special tokens are plain text, so no document can forge a chat role.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.errors import PromptError, SettingsError
from rag.schema import Prompt, RetrievedPassage

REFUSAL = "The documents do not say."
Encode = Callable[[str, bool], list[int]]  # (text, trusted) -> token ids
Frame = tuple[str, str]  # what a chat template puts before and after the user's message


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the prompt, and whether we wrote it."""

    text: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: examples in the prompt teach."""

    passages: tuple[str, ...]
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Template:
    """A form of prompt. `stop` are the strings that end its answers."""

    instruction: str = ""
    examples: tuple[Example, ...] = ()
    chat: bool = False  # each question is a user's message in the model's own chat format
    stop: tuple[str, ...] = ("\n",)


_INSTRUCTION = f"Answer from the passages, in a few words. If they do not hold the answer, say: {REFUSAL}"
_EXAMPLES = (
    Example(
        (
            "The ferry Aurora leaves Port Hale at 7:40 and 16:15 on weekdays. It carries forty cars.",
            "The harbour of Port Hale was dug in 1874 by the engineer Ruth Calder and cost £31,000.",
        ),
        "Who dug the harbour of Port Hale?",
        "Ruth Calder",
    ),
    Example(
        (
            "Apples are picked from the first week of September on, pears two weeks earlier.",
            "The old trees are pruned in February, because cuts made later in spring bleed sap.",
        ),
        "Why are the trees pruned in February?",
        "because cuts made later in spring bleed sap",
    ),
    Example(
        (
            "Dogs are welcome on a lead, except between the fish stalls.",
            "Stalls are let for a season. A stall on the east side costs £85 and has no water.",
        ),
        "How much does a stall on the east side cost?",
        "£85",
    ),
)
TEMPLATES = {
    "examples": Template(examples=_EXAMPLES),
    "plain": Template(_INSTRUCTION),
    "chat": Template(_INSTRUCTION, chat=True, stop=()),
}


def check_template(name: str) -> None:
    """Raise `SettingsError` for a name that is neither "auto" nor a template's."""
    if name not in ("auto", *TEMPLATES):
        raise SettingsError(f"Unknown template {name!r}; use one of: auto, {', '.join(TEMPLATES)}.")


def choose_template(name: str, frame: Frame | None) -> Template:
    """The template of this name. Raises `SettingsError` for an unknown one or a chat without a chat template."""
    check_template(name)
    template = TEMPLATES[name]
    if template.chat and frame is None:
        raise SettingsError(f"Template {name!r} needs a model with a chat template; use examples.")
    return template


def build_prompt(
    name: str,
    question: str,
    passages: Sequence[RetrievedPassage],
    encode: Encode,
    budget: int,
    frame: Frame | None = None,
) -> Prompt:
    """The prompt with as many passages, best first, as fit whole into `budget` tokens. Raises `PromptError`.

    The best passage stands last, next to the question, where a small model reads best. A passage that does not fit is
    left out and the next one tried. With passages given, at least one must fit.
    """
    template = choose_template(name, frame)
    room = budget - _count(_segments(template, question, [], frame), encode)
    shown: list[RetrievedPassage] = []
    for passage in passages:
        cost = _count(_passage_segments(passage.passage.text), encode)
        if cost <= room:
            shown.insert(0, passage)
            room -= cost
    if room < 0 or (passages and not shown):
        raise PromptError(
            f"The question and one passage do not fit into {budget} tokens; "
            "ask a shorter question, lower max_new_tokens or use a model with a longer context window."
        )
    segments = _segments(template, question, [p.passage.text for p in shown], frame)
    return Prompt(
        question=question,
        template=name,
        passages=tuple(shown),
        left_out=tuple(p for p in passages if p not in shown),
        text="".join(segment.text for segment in segments),
        token_ids=tuple(i for segment in segments for i in encode(segment.text, segment.trusted)),
    )


def _count(segments: Sequence[Segment], encode: Encode) -> int:
    return sum(len(encode(segment.text, segment.trusted)) for segment in segments)


def _segments(template: Template, question: str, passages: Sequence[str], frame: Frame | None) -> list[Segment]:
    """Instruction, examples, passages, question: passages stand before the question."""
    segments = [Segment(f"{template.instruction}\n\n", True)] if template.instruction else []
    for example in template.examples:
        segments += _task(example.passages, example.question, trusted=True)
        segments.append(Segment(f" {example.answer}\n\n", True))
    segments += _task(passages, question, trusted=False)
    return [Segment(frame[0], True), *segments, Segment(frame[1], True)] if template.chat and frame else segments


def _task(passages: Sequence[str], question: str, trusted: bool) -> list[Segment]:
    segments = [segment for text in passages for segment in _passage_segments(text, trusted)]
    return [*segments, Segment("\nQuestion:", True), Segment(f" {question}", trusted), Segment("\nAnswer:", True)]


def _passage_segments(text: str, trusted: bool = False) -> list[Segment]:
    return [Segment(text, trusted), Segment("\n", True)]
