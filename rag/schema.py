"""The domain types: what travels between the stages. Standard library only; all of them are frozen."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

FinishReason = Literal["end_token", "stop_string", "sentence_end", "max_new_tokens", "context_full", "cancelled"]
Advice = Literal["answer", "warn", "decline"]


@dataclass(frozen=True, slots=True)
class Document:
    """One file's contents as text. Files with equal bytes are one document with several sources."""

    id: str  # sha256 of the file's bytes, in hex
    sources: tuple[str, ...]  # every path at which these contents were found
    title: str
    media_type: str
    text: str
    places: tuple[tuple[int, int], ...] = ()  # (offset of the first character, number) of each page, slide or row
    unit: str = "page"  # what the numbers count
    date: str | None = None  # YYYY-MM-DD of the last change, as the file itself states it
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # characters left out, by reason


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a document's text, `text[start:end]`; what chunking yields and a stored passage keeps."""

    start: int
    end: int
    first: int | None = None  # 1-based number of the page, slide or row of the first character
    last: int | None = None  # and of the last one
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored piece of a document, the unit of retrieval: `document.text[start:end] == text`."""

    id: int  # given by the catalogue, never reused
    document_id: str
    source: str  # a path of its document
    title: str  # its document's title
    text: str
    start: int
    end: int
    unit: str  # what `first` and `last` count: page, slide, row
    first: int | None
    last: int | None
    heading_path: tuple[str, ...]
    date: str | None = None  # YYYY-MM-DD of its document: as the contents state it, else of the file's last change

    @property
    def place(self) -> str:
        """Where in its document it stands, for people: `page 4`, `rows 17 to 24`, or nothing."""
        if self.first is None:
            return ""
        return f"{self.unit} {self.first}" if self.first == self.last else f"{self.unit}s {self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents may answer: every field that is given must hold, by any one of its values."""

    folders: tuple[str, ...] = ()  # absolute; everything under them
    types: tuple[str, ...] = ()  # file suffixes, with or without the dot
    tags: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()  # ids or paths
    since: str | None = None  # YYYY-MM-DD, the first day that counts
    until: str | None = None  # YYYY-MM-DD, the last day that counts

    def __post_init__(self) -> None:
        """Raise `ValueError` with one sentence where a day is none."""
        for day in (self.since, self.until):
            if day is not None and datetime.date.fromisoformat(day).isoformat() != day:
                raise ValueError(f"{day} is written in another way")  # and would be compared wrongly

    def __bool__(self) -> bool:
        """Whether it keeps anything out."""
        return self != Filter()


@dataclass(frozen=True, slots=True)
class RetrievedPassage:
    """A passage that answers a query, with the score of each stage that saw it; None where a stage did not."""

    passage: Passage
    rank: int  # 1 is best
    fused: float  # 0 to 1; comparable only within one query
    dense: float | None  # cosine similarity of question and passage
    lexical: float | None  # BM25
    rerank: float | None = None
    reranked_by: str | None = None  # what that score is
    copies: tuple[str, ...] = ()  # the files of near-copies, which are left out
    newest: bool | None = (
        None  # where versions that differ in a number or a name were found: whether this is the newest
    )
    read: int | None = None  # in a prompt: how many of its characters the model reads, from the first on; None is all


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question of a conversation with its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Exactly what the model reads."""

    question: str
    template: str
    passages: tuple[RetrievedPassage, ...]  # in the order in which the model reads them: the best may be last
    left_out: tuple[RetrievedPassage, ...]  # retrieved, but did not fit
    text: str
    token_ids: tuple[int, ...]
    history: tuple[Turn, ...] = ()  # the earlier turns that the model reads
    turns_left_out: int = 0  # the oldest ones, for which there was no room
    search_question: str | None = None  # what was searched for; None where nothing was


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen and when to stop. What each control does exactly is said in `rag.sampling`."""

    max_new_tokens: int = 64
    min_new_tokens: int = 0  # before so many no end token is drawn, and no stop string or sentence end counts
    temperature: float = 0.0  # 0 is greedy: the most probable token, the lowest id on ties
    top_k: int = 0  # 0 keeps all
    top_p: float = 1.0  # 1 keeps all
    min_p: float = 0.0  # 0 keeps all
    typical_p: float = 1.0  # 1 keeps all
    repetition_penalty: float = 1.0  # 1 is none, above 1 makes tokens that were there less probable
    no_repeat_ngram: int = 0  # length of what may not come twice; 0 lets everything
    penalties_read_prompt: bool = False  # these two count the prompt's tokens too; they punish quoting passages then
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token id, what is added to its logit); minus infinity bans it
    begin_suppress_tokens: tuple[int, ...] = ()  # ids that an answer may not begin with
    beams: int = 1  # above 1 a beam search writes the answer: nothing is drawn, and no other control counts
    length_penalty: float = 1.0  # of the beam search: above 0 prefers long answers
    seed: int | None = None  # None draws one; the answer records it
    stop: tuple[str, ...] = ()
    stop_at_sentence_end: bool = False
    alternatives: int = 5  # how many of the most probable tokens each step records

    def __post_init__(self) -> None:
        """Raise `ValueError` with one sentence where a value makes no sense."""
        checks = {
            "max_new_tokens must be at least 1": self.max_new_tokens >= 1,
            "min_new_tokens must be between 0 and max_new_tokens": 0 <= self.min_new_tokens <= self.max_new_tokens,
            "temperature must be 0 or more": 0 <= self.temperature < float("inf"),
            "top_k must be 0 (off) or more": self.top_k >= 0,
            "top_p must be between 0 and 1": 0 <= self.top_p <= 1,
            "min_p must be between 0 and 1": 0 <= self.min_p <= 1,
            "typical_p must be between 0 and 1": 0 <= self.typical_p <= 1,
            "repetition_penalty must be above 0": 0 < self.repetition_penalty < float("inf"),
            "no_repeat_ngram must be 0 (off) or more": self.no_repeat_ngram >= 0,
            "logit_bias must give finite values, or minus infinity, to token ids from 0": all(
                token_id >= 0 and value < float("inf") for token_id, value in self.logit_bias
            ),
            "logit_bias must name a token only once": len(dict(self.logit_bias)) == len(self.logit_bias),
            "begin_suppress_tokens must be token ids from 0": all(i >= 0 for i in self.begin_suppress_tokens),
            "beams must be at least 1": self.beams >= 1,
            "length_penalty must be a number": abs(self.length_penalty) < float("inf"),
            "beams draw nothing and take no other control than stops and max_new_tokens": self.beams == 1
            or not self._controls(),
            "seed must be between 0 and 2**53 - 1": self.seed is None or 0 <= self.seed < 2**53,
            "stop strings must not be empty": all(self.stop),
            "alternatives must be 0 or more": self.alternatives >= 0,
        }
        for sentence, holds in checks.items():
            if not holds:
                raise ValueError(sentence)

    @property
    def is_plainly_greedy(self) -> bool:
        """Whether each token is the model's most probable one, but for what an answer may not begin with."""
        return self == replace(
            SamplingParams(),
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            stop=self.stop,
            stop_at_sentence_end=self.stop_at_sentence_end,
            alternatives=self.alternatives,
            begin_suppress_tokens=self.begin_suppress_tokens,
        )

    def _controls(self) -> bool:
        """Whether anything shapes the distribution that a token is drawn from."""
        shaped = (self.temperature, self.repetition_penalty != 1, self.no_repeat_ngram, self.logit_bias)
        return any(shaped) or self.min_new_tokens > 0 or bool(self.begin_suppress_tokens)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have been drawn. `sampled_logprob` is minus infinity where a filter removed it."""

    token_id: int
    text: str
    logprob: float
    sampled_logprob: float


@dataclass(frozen=True, slots=True)
class TokenStep:
    """One step of the sampling loop. All log-probabilities and the entropy are in nats."""

    token_id: int
    text: str  # what this token added to the answer; empty inside a character and for the end token
    logprob: float  # the model's own distribution
    sampled_logprob: float  # the distribution it was drawn from, after temperature and filters
    rank: int  # 1 is the model's most probable token
    entropy: float  # of the model's own distribution
    alternatives: tuple[Alternative, ...]  # the model's most probable tokens, best first; the chosen one is among them
    finish_reason: FinishReason | None = None  # on the last step only


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An answer that a beam search found."""

    token_ids: tuple[int, ...]  # the end token too, if it was reached
    text: str
    logprob: float  # of all its tokens, by the chain rule, in nats
    score: float  # logprob / number of tokens ** length penalty


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several texts that could come next, with its likelihood."""

    text: str
    logprob: float  # of all its tokens, by the chain rule, in nats
    per_byte: float  # logprob / bytes of its UTF-8, so that long texts have a chance


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the question on; `first_token` is None where nothing was generated."""

    retrieval: float
    first_token: float | None
    total: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """An answer's tokens with the documents and without them: model's own log-probabilities, a value a token."""

    logprobs: tuple[float, ...]  # with all passages: as written, in `Evidence` as read again with the others
    without: tuple[float, ...]  # the same instruction, with no passage in its place
    closed_book: tuple[float, ...]  # the question without the instruction
    ranks: tuple[int, ...]  # 1 is the model's most probable token
    ranks_without: tuple[int, ...]
    written: int  # so many tokens wrote the text; what follows (an end token, a stop string) only ended it
    noise_floor: float  # nats a token below which a difference means nothing

    @property
    def lift(self) -> tuple[float, ...]:
        """By how much the documents raised each token's log-probability."""
        return tuple(a - b for a, b in zip(self.logprobs, self.without, strict=True))

    @property
    def total(self) -> float:
        """The lift of the answer's text."""
        return sum(self.lift[: self.written])


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and everything that made it. `text` is the concatenation of the steps' texts, outer blanks removed."""

    prompt: Prompt
    text: str
    steps: tuple[TokenStep, ...]
    params: SamplingParams  # with the seed that was used
    language_model: str
    timings: Timings
    abstained: str | None = None  # why no answer is given; None where one is
    contrast: Contrast | None = None  # what the documents changed in it; None where nothing was said from them
    confidence: float | None = None  # calibrated probability of being right; of a refusal: its best other answer's
    advice: Advice | None = None  # what follows from it
    calibrated_on: str | None = None  # what the confidence was fitted on, in words; None says "uncalibrated"
    reason: str | None = None  # why it failed or was declined, one of `rag.reasons`
    alone: tuple[float, ...] | None = None  # by passage as they were read: see `rag.rereading`; None where not done
    at_first: str | None = None  # the text that was written first, where another was found better

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the sampling loop ended; None where nothing was generated."""
        return self.steps[-1].finish_reason if self.steps else None

    @property
    def written(self) -> tuple[TokenStep, ...]:
        """The tokens that wrote the text: without an end token or a stop string behind it."""
        return self.steps[: max((n for n, step in enumerate(self.steps, start=1) if step.text), default=0)]

    @property
    def logprob(self) -> float:
        """Log-probability of the whole answer by the chain rule, in nats, the end token's included if it was drawn."""
        return sum(step.logprob for step in self.steps)
