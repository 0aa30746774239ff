"""Follow-up questions: what to search for when a question leans on what was said before it.

A rule, not a model: a question that leans is searched together with the questions that it leans on. Knows words of
English and Chinese; a question in another language leans only if it is very short.
"""

import re
from collections.abc import Sequence

from rag.schema import Turn

CLIPPED = 300  # characters of an earlier question: the follow-up itself must stay inside the embedder's window
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_OPENING = re.compile(r"(and|but|or|so|then|also|(what|how) about|(what|who|where) else)\b")
_POINTING = re.compile(
    # "how long does it take to reach the island" announces what follows, and so points at nothing before
    r"\bit\b(?!.* (?:which|who|whether|that|how|where) )(?!.* to \w+ (?:the|an?|my|your|our) )"
    r"|\b(?:its|they|them|their|theirs|he|him|his|she|her|hers|ones|others)\b"
    r"|\b(?:this|these|those)\b(?! (?:year|month|week|morning|evening)\b)"
    # "a tool that breaks" points at the tool, "is there a lift" at nothing
    r"|\b(?:that|there|then|one)(?=\W*$)|^(?:is|was|does|did)? ?that\b|\b(?:does|did|was) that\b"
)
_ASKING = re.compile(r"(is|are|was|were|do|does|did|can|may|must|has|have) ")  # "do boats float" is short but whole
_NAME = re.compile(r"(?<!^)\b[A-Z][a-z]+")
_SMALL = {"does", "have", "what", "when", "where", "which", "with", "from", "were", "much", "many", "should", "would"}
_CHINESE_LEANING = re.compile(r"[它他她该此这]|其(?!他|中)|^那|那[个些条位时]|呢\W*$|^(?:还有|而)|^为什么\W*$|上述")


def leans(question: str) -> bool:
    """Whether a question needs what was said before: it is very short, opens like a continuation, or points back.

    A pronoun after a name, or after three words of substance, points into the question itself.
    """
    text = question.strip()
    if _CHINESE.search(text):
        return len(re.findall(r"\w", text)) <= 7 or bool(_CHINESE_LEANING.search(text))
    if _OPENING.match(text.lower()):
        return True
    if len(text.split()) <= 3 and not _ASKING.match(text.lower()):
        return not _NAME.search(text)
    found = _POINTING.search(text.lower())
    if not found:
        return False
    before = text[: found.start()]
    substance = [word for word in before.lower().split() if len(word) > 3 and word not in _SMALL]
    return not _NAME.search(before) and len(substance) < 3


def leaned_on(question: str, history: Sequence[Turn]) -> Sequence[Turn]:
    """The last turns of a conversation, as far as a question leans on them: back to one that stands alone."""
    n = len(history)
    while n and leans(question):
        n -= 1
        question = history[n].question
    return history[n:]


def search_question(question: str, history: Sequence[Turn]) -> str:
    """What is searched for: the question after the earlier ones that it leans on."""
    return " ".join([*(turn.question[:CLIPPED].strip() for turn in leaned_on(question, history)), question])
