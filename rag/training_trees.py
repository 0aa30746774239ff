"""Packs -> trees: the prompts of several questions about the same passages as one sequence of tokens.

The trunk is the prompt up to the question, the branches are the questions with their answers. A token sees the trunk
and its own branch, and its position is counted along them, so that a model computes for each branch what it would for
that prompt alone. Passages are read once and not once a question: six times as many questions in the same time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rag.kv_cache import shared_prefix
from rag.prompting import build_prompt
from rag.schema import Passage, RetrievedPassage
from rag.templates import REFUSAL, Template
from rag.tokenizer import Tokenizer
from rag.training_data import Pack

_PROMPT_TOKENS = 2048  # at most, while training
_MULTIPLE = 64  # lengths are filled up to one, so that products of few shapes have to be planned


@dataclass(frozen=True, slots=True)
class Tree:
    """A trunk and its branches as L tokens, n of which predict an answer's next one. All integers are int64."""

    ids: Tensor  # (L,)
    positions: Tensor  # (L,) counted along trunk and branch
    branch: Tensor  # (L,) 0 for the trunk, then 1, 2, ...
    predicting: Tensor  # (n,) which of the L
    wanted: Tensor  # (n,) the token that each is to predict

    @property
    def branches(self) -> int:
        """How many questions."""
        return int(self.branch[-1])

    def mask(self) -> Tensor:
        """(1, 1, L, L), true where a token sees another: no later one, and none of another branch."""
        sees = (self.branch == 0) | (self.branch == self.branch[:, None])
        return sees.tril()[None, None]

    def whole(self, right: Tensor) -> list[bool]:
        """Of predictions (n,) that are right or wrong: for each branch, whether all of its own are right."""
        wrong = set(self.branch[self.predicting[~right]].tolist())
        return [number not in wrong for number in range(1, self.branches + 1)]


class Trees:
    """Makes trees with the program's own template, as the model will be asked."""

    def __init__(self, tokens: Tokenizer, template: Template) -> None:
        """`template` is in plain or in chat form."""
        self._encode = lru_cache(maxsize=10_000)(tokens.encode)
        self._frame = tokens.chat_frame()
        self._template = template
        self._budget = min(_PROMPT_TOKENS, tokens.context_window)
        # A model in chat form says itself where it ends; in plain form a line's end does.
        self._end = [min(tokens.end_tokens)] if template.chat else tokens.encode("\n", False)

    def of(self, pack: Pack) -> Tree:
        """A pack's tree; without an answer the refusal is to be learnt. Raises `PromptError`."""
        return self.tree(pack.passages, [(question, answer or REFUSAL) for question, answer in pack.asked])

    def tree(self, passages: Sequence[str], asked: Iterable[tuple[str, str]]) -> Tree:
        """Passages, the best first, and at least one question with what is to be answered.

        Where the answer did not fit into the prompt that is the refusal. Raises `PromptError`.
        """
        retrieved = [_retrieved(text, rank) for rank, text in enumerate(passages, start=1)]
        prompts, answers = list[list[int]](), list[list[int]]()
        for question, answer in asked:
            prompt = build_prompt(self._template, question, retrieved, self._encode, self._budget, self._frame)
            if not any(answer in p.passage.text[: p.read] for p in prompt.passages):
                answer = REFUSAL
            prompts.append(list(prompt.token_ids))
            answers.append(self._encode(answer if self._template.chat else f" {answer}", False) + self._end)
        n = min(shared_prefix(prompts[0], prompt[:-1]) for prompt in prompts)
        ids, positions, branch = prompts[0][:n], list(range(n)), [0] * n
        predicting, wanted = list[int](), list[int]()
        for number, (prompt_ids, answer_ids) in enumerate(zip(prompts, answers, strict=True), start=1):
            tokens = prompt_ids[n:] + answer_ids[:-1]
            predicting += range(len(ids) + len(prompt_ids) - n - 1, len(ids) + len(tokens))
            wanted += answer_ids
            ids += tokens
            positions += range(n, n + len(tokens))
            branch += [number] * len(tokens)
        for values in (ids, positions, branch):  # what stands last is seen by none
            values += values[-1:] * (-len(values) % _MULTIPLE)
        return Tree(*(torch.tensor(values) for values in (ids, positions, branch, predicting, wanted)))


def _retrieved(text: str, rank: int) -> RetrievedPassage:
    passage = Passage(rank, "", "", "", text, 0, len(text), "", None, None, ())
    return RetrievedPassage(passage, rank, 0.0, None, None)
