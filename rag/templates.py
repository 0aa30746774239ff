"""Templates: the forms of prompt, by name. What is put into their slots, and how it is marked, is for `prompting`.

A template is a text with slots, in the order that lets a second question about the same passages reuse what was read:
an instruction, then {passages} on a line of its own, then {question}, then what begins the answer. {language} is the
language to translate into. Files are for `template_files`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.errors import SettingsError

REFUSAL = "The documents do not say."
FORMS = ("plain", "chat")
Frame = tuple[str, str]  # what a chat template puts before and after the user's message


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: examples in the prompt teach. The passages stand as in a prompt, the best one last."""

    passages: tuple[str, ...]
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Template:
    """A form of prompt."""

    text: str
    examples: tuple[Example, ...] = ()
    chat: bool | None = None  # a user's message in the model's own chat format; None is for the kind of model to say
    labels: bool = False  # [1], [2], ... before the passages, by rank; in chat form always
    stop: tuple[str, ...] | None = None  # what ends an answer; None is the line's end in plain form, nothing in chat
    name: str = ""

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end an answer."""
        if self.stop is None:
            return () if self.chat else ("\n",)
        return self.stop

    @property
    def reads_passages(self) -> bool:
        """Whether passages are looked for at all."""
        return "{passages}" in self.text


_QUESTION = "Question: {question}\nAnswer:"
_TASK = f"{{passages}}\n\n{_QUESTION}"
_OR_REFUSE = f"If they do not hold the answer, say: {REFUSAL}"
_SHORT = f"Answer from the passages, in a few words. {_OR_REFUSE}\n\n{_TASK}"
_CITED = (
    f"Answer from the passages, and name after each statement the passage that holds it, like [2]. {_OR_REFUSE}"
    f"\n\n{_TASK}"
)
_STEPS = (
    "Answer from the passages, step by step: first what they say about the question, then what follows from it. "
    f"{_OR_REFUSE}\n\n{{passages}}\n\nQuestion: {{question}}\nStep by step:"
)
_SUMMARY = "Sum up in one or two sentences what the passages say.\n\n{passages}\n\nTopic: {question}\nTL;DR:"
_TRANSLATION = (
    "Translate the passages into {language}, and add nothing.\n\n"
    "{passages}\n\nWanted: {question}\nThe passages in {language}:"
)
_TEXT_TRANSLATION = "Translate the text into {language}, and add nothing.\n\nText: {question}\nIn {language}:"

_HARBOUR = (
    "The ferry Aurora leaves Port Hale at 7:40 and 16:15 on weekdays. It carries forty cars.",
    "The harbour of Port Hale was dug in 1874 by the engineer Ruth Calder and cost £31,000.",
)
_ORCHARD = (
    "Apples are picked from the first week of September on, pears two weeks earlier.",
    "The old trees are pruned in February, because cuts made later in spring bleed sap.",
)
_MARKET = (
    "Dogs are welcome on a lead, except between the fish stalls.",
    "Stalls are let for a season. A stall on the east side costs £85 and has no water.",
)
_DUG, _PRUNED, _COST = (
    "Who dug the harbour of Port Hale?",
    "Why are the trees pruned in February?",
    "How much does a stall on the east side cost?",
)
_SHORT_EXAMPLES = (
    Example(_HARBOUR, _DUG, "Ruth Calder"),
    Example(_ORCHARD, _PRUNED, "because cuts made later in spring bleed sap"),
    Example(_MARKET, _COST, "£85"),
)
_CITED_EXAMPLES = (
    Example(_HARBOUR, _DUG, "Ruth Calder [1]"),
    Example(_ORCHARD[::-1], _PRUNED, "because cuts made later in spring bleed sap [2]"),
    Example(_MARKET, _COST, "£85 [1]"),
)
_STEPS_EXAMPLES = (
    Example(
        _HARBOUR,
        "How old was the harbour of Port Hale in 1974?",
        "The harbour was dug in 1874. From 1874 to 1974 are 100 years. So the answer is: 100 years",
    ),
    Example(
        _ORCHARD,
        "When are pears picked?",
        "Apples are picked from the first week of September on. Pears are picked two weeks earlier, "
        "which is in August. So the answer is: in the second half of August",
    ),
)
_SUMMARY_EXAMPLES = (
    Example(_HARBOUR, "Port Hale", "Port Hale has a harbour of 1874, built by Ruth Calder, and a ferry on weekdays."),
    Example(_ORCHARD, "work in the orchard", "Trees are pruned in February, fruit is picked from late August on."),
)
TEMPLATES = {
    name: replace(template, name=name)
    for name, template in {
        "examples": Template(_TASK, _SHORT_EXAMPLES, chat=False),
        "plain": Template(_SHORT, chat=False),
        "chat": Template(_SHORT, chat=True),
        "cited": Template(_CITED, _CITED_EXAMPLES, labels=True),
        "summary": Template(_SUMMARY, _SUMMARY_EXAMPLES),
        "steps": Template(_STEPS, _STEPS_EXAMPLES, stop=("\n\n",)),
        "translation": Template(_TRANSLATION, stop=("\n\n",)),
        "text-translation": Template(_TEXT_TRANSLATION, stop=("\n\n",)),
    }.items()
}


def as_answer(text: str, template: Template) -> str:
    """A text as what follows a prompt: in plain form a blank stands before an answer."""
    return text if template.chat else f" {text}"


def is_refusal(text: str) -> bool:
    """Whether an answer is the refusal sentence, or begins like it."""
    return text.lower().startswith(REFUSAL.rstrip(".").lower())


def split_form(name: str) -> tuple[str, str | None]:
    """`cited:chat` is the template `cited` in the form `chat`; without a form, the second is None."""
    bare, _, form = name.rpartition(":")
    return (bare, form) if bare and form in FORMS else (name, None)


def is_file(name: str) -> bool:
    """Whether a name is that of a user's own template file."""
    return split_form(name)[0].endswith(".toml")


def check_template(name: str) -> None:
    """Raise `SettingsError` for a name that is neither "auto", a template's nor a template file's."""
    bare, _ = split_form(name)
    if bare not in ("auto", *TEMPLATES) and not is_file(name):
        raise SettingsError(
            f"Unknown template {name!r}; use one of: auto, {', '.join(TEMPLATES)}, or a template file (.toml)."
        )


def choose_template(
    name: str, frame: Frame | None, prefers_chat: bool = False, own: Template | None = None, language: str = "English"
) -> Template:
    """The template of this name, in its form; `own` is what a template file holds. Raises `SettingsError`.

    "auto" is `chat` for a model that prefers chat and can, else `examples`; a template without a form follows the same
    rule. `frame` is None for a model without a chat template.
    """
    check_template(name)
    bare, form = split_form(name)
    can_chat = prefers_chat and frame is not None
    if bare == "auto":
        bare = "chat" if can_chat else "examples"
    template = own or TEMPLATES[bare]
    chat = form == "chat" if form else template.chat if template.chat is not None else can_chat
    if chat and frame is None:
        raise SettingsError(f"Template {name!r} needs a model with a chat template; use examples.")
    fixed = template.chat if own is None else None
    full_name = bare if chat == fixed else f"{bare}:{'chat' if chat else 'plain'}"
    stop = () if chat and own is None else template.stop  # a chat model says itself where it ends
    return replace(template, name=full_name, chat=chat, stop=stop, text=template.text.replace("{language}", language))


def with_examples(template: Template, own: Sequence[Example] | None, n: int | None) -> Template:
    """A template with its first n worked examples, or a file's; without a number all of ours, 3 of a file."""
    if own is None:
        return replace(template, examples=template.examples[:n])
    return replace(template, examples=tuple(own[: 3 if n is None else n]))


def closed_book(template: Template) -> Template:
    """The question-only form of a template: its worked examples without their passages, its form and its stops."""
    text = f"Answer in a few words.\n\n{_QUESTION}" if template.chat else _QUESTION
    return replace(template, name="closed-book", text=text)
