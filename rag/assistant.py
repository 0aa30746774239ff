"""Assistant: the stages in order, from a question to an answer that shows how it came about.

    question -> make it self-contained -> embed -> retrieve -> build the prompt -> sample -> answer

Every way in (command line, web page, evaluation) asks here and nowhere else.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rag.adapter import BUNDLED, merged, read_record, weights_identity
from rag.attribution import support
from rag.confidence import Calibration, identity, read_calibration
from rag.embedding import Embedder, choose_device
from rag.errors import InputError, PromptError
from rag.evidence import Citation
from rag.follow_ups import leaned_on, search_question
from rag.generation import LocalGenerator, new_seed
from rag.index import LocalIndex, open_index
from rag.judging import judge
from rag.language_model import LanguageModel, convert_gguf
from rag.models import embedder_identity, resolve_cross_encoder, resolve_embedder, resolve_language_model, speaks
from rag.prompting import build_prompt
from rag.reasons import DOUBTED
from rag.reranking import cross_encoder, question_likelihood
from rag.rereading import may_not_decline, reread
from rag.retrieval import EVERYTHING, Reranker, check_question, retrieve
from rag.schema import Answer, Filter, Prompt, RetrievedPassage, SamplingParams, Timings, TokenStep, Turn
from rag.settings import Settings
from rag.template_files import read_own
from rag.templates import Template, choose_template, is_refusal, with_examples

Event = Prompt | TokenStep | Answer
NOTHING_FOUND = "no passage of the collection matches the question"
FOREIGN = (
    "the language model was not made for the language of this question; the preset multilingual is "
    "(`rag models fetch multilingual`, then `--language-model multilingual`)"
)
SAID_SO = "the model says that the documents do not answer this"
# Beside the adapter that they are for, by whether each passage is read by itself too.
CONFIDENCES = {False: "confidence-together.json", True: "confidence-each-passage.json"}


class Assistant:
    """Answers questions from one collection with one embedder and one language model."""

    def __init__(
        self,
        index: LocalIndex | None,
        embedder: Embedder | None,
        generator: LocalGenerator,
        language_model: str,
        template: str | Template = "auto",
        reranker: Reranker | None = None,
        join: bool = False,
        calibration: Calibration | None = None,
        read_each: bool = False,
    ) -> None:
        """Put loaded parts together. `template` is one of `choose_template`, or the name of one.

        `reranker` and `join` are for `retrieve`. Without an index and an embedder passages must be given. The
        `calibration` must have been fitted for these parts; without one answers have no confidence. `read_each` lets
        greedy answers be chosen among those that each passage gives by itself.
        """
        self.index = index
        self.embedder = embedder
        self.generator = generator
        self.language_model = language_model
        self.reranker = reranker
        self.join = join
        self.calibration = calibration
        self.read_each = read_each
        if isinstance(template, str):
            own, _ = read_own(template, None)
            template = choose_template(template, generator.model.chat_frame(), prefers_chat(language_model), own)
        self.template = template

    def ask(
        self,
        question: str,
        params: SamplingParams | None = None,
        k: int = 3,
        keep: Filter = EVERYTHING,
        history: Sequence[Turn] = (),
    ) -> Answer:
        """Answer a question from the k best passages that a filter keeps, after the turns of a conversation.

        Raises `InputError` and `PromptError`.
        """
        *_, answer = self.stream(question, params, k, keep, history=history)
        if not isinstance(answer, Answer):
            raise TypeError("a stream ends with its answer")
        return answer

    def stream(
        self,
        question: str,
        params: SamplingParams | None = None,
        k: int = 3,
        keep: Filter = EVERYTHING,
        cancelled: threading.Event | None = None,
        history: Sequence[Turn] = (),
    ) -> Iterator[Event]:
        """As `ask`, as it happens: the prompt with its passages, a step a token, and the answer last."""
        began = time.perf_counter()
        params = self.complete(params or SamplingParams())
        prompt = self.prompt(question, params, k, keep, history)
        found = time.perf_counter()
        yield prompt
        steps: list[TokenStep] = []
        first: float | None = None
        if self.can_answer(prompt):
            for step in self.generator.stream(prompt.token_ids, params, cancelled):
                first = first or time.perf_counter() - began
                steps.append(step)
                yield step
        timings = Timings(found - began, first, time.perf_counter() - began)
        yield self.judged(self.answer(prompt, steps, params, timings), cancelled)

    def complete(self, params: SamplingParams) -> SamplingParams:
        """Fix the seed, so that the answer can be made again, and add what ends the template's answers."""
        seed = new_seed() if params.seed is None else params.seed
        return replace(params, seed=seed, stop=tuple(dict.fromkeys((*params.stop, *self.template.stops))))

    def prompt(
        self,
        question: str,
        params: SamplingParams,
        k: int = 3,
        keep: Filter = EVERYTHING,
        history: Sequence[Turn] = (),
        passages: Sequence[RetrievedPassage] | None = None,
    ) -> Prompt:
        """What the model reads: with passages that are given, best first, or with those that are retrieved.

        Raises `InputError` and `PromptError`.
        """
        for text in (question, *(f"{turn.question} {turn.answer}" for turn in history)):
            check_question(text)
        model = self.generator.model
        budget = model.context_window - params.max_new_tokens
        if budget < 1:
            raise PromptError(
                f"max_new_tokens {params.max_new_tokens} leaves nothing of the model's context window of "
                f"{model.context_window} tokens; lower it."
            )
        searched = None
        if not self.template.reads_passages:
            history, passages = (), ()
        elif passages is None:
            searched = search_question(question, history)
            passages = self._retrieve(searched, k, keep)
        if not self.template.chat:  # a small model answers a question that stands alone better without
            history = leaned_on(question, history)
        frame = model.chat_frame()
        prompt = build_prompt(self.template, question, passages, model.encode, budget, frame, history)
        return replace(prompt, search_question=searched)

    def can_answer(self, prompt: Prompt) -> bool:
        """Whether the model is asked at all: not without a passage, nor in a language that it does not speak."""
        found = bool(prompt.passages) or not self.template.reads_passages
        return found and speaks(self.language_model, prompt.question)

    def answer(self, prompt: Prompt, steps: Sequence[TokenStep], params: SamplingParams, timings: Timings) -> Answer:
        """What was written after a prompt as an answer, not judged yet."""
        text = "".join(step.text for step in steps).strip()
        return Answer(
            prompt=prompt,
            text=text,
            steps=tuple(steps),
            params=params,
            language_model=self.language_model,
            timings=timings,
            abstained=self._abstained(prompt, text),
        )

    def judged(self, answer: Answer, cancelled: threading.Event | None = None) -> Answer:
        """The answer as it is given: with what the documents changed in it, its confidence, and why not to rely on it.

        With a calibration, whether to decline is for the confidence, not for the model's manners: a refusal gives way
        to the best other answer where that is sure enough; else it tells how sure that was.
        """
        refused = answer.abstained == SAID_SO
        asked = answer.finish_reason not in (None, "cancelled")
        calibration = self.calibration if answer.params.is_plainly_greedy else None  # it was fitted on such answers
        if not asked or (refused and calibration is None):
            return judge(answer, self.template, self.generator, calibration)
        best = judge(self.best(answer, cancelled), self.template, self.generator, calibration)
        if not refused:
            return best
        if best.abstained or best.confidence is None:
            declined = judge(answer, self.template, self.generator, calibration)
            return replace(declined, confidence=best.confidence, timings=best.timings)
        return replace(best, advice="warn", reason=best.reason or DOUBTED)

    def best(self, answer: Answer, cancelled: threading.Event | None = None) -> Answer:
        """The best answer that is no refusal, not judged: read from each passage alone too, where that is wanted.

        A refusal still, where nothing else was found.
        """
        if self.read_each and answer.prompt.passages and answer.params.is_plainly_greedy:
            return self._reread(answer, cancelled)
        return self._instead(answer, cancelled) if answer.abstained == SAID_SO else answer

    def _reread(self, answer: Answer, cancelled: threading.Event | None) -> Answer:
        began = time.perf_counter()
        try:
            found = reread(answer, self.template, self.generator, cancelled)
        except PromptError:  # the context window leaves no room
            found = None
        if found is None:
            return answer
        best, alone = found
        if best.text != answer.text:
            steps = self.generator.from_prefix(answer.prompt.token_ids, (), best.token_ids, answer.params)
            rewritten = self.answer(answer.prompt, list(steps), answer.params, answer.timings)
            answer = replace(rewritten, at_first=answer.text)
        total = answer.timings.total + time.perf_counter() - began
        return replace(answer, alone=alone, timings=replace(answer.timings, total=total))

    def _instead(self, refusal: Answer, cancelled: threading.Event | None) -> Answer:
        """What the model answers where it may not decline; a refusal still, where it finds other words for it."""
        began = time.perf_counter()
        params = may_not_decline(refusal.params, self.template, self.generator)
        steps = list(self.generator.stream(refusal.prompt.token_ids, params, cancelled))
        timings = replace(refusal.timings, total=refusal.timings.total + time.perf_counter() - began)
        return replace(self.answer(refusal.prompt, steps, params, timings), at_first=refusal.text)

    def branch(self, answer: Answer, position: int, token_id: int, cancelled: threading.Event | None = None) -> Answer:
        """The answer with another token at a position, written on from there; judged, but for its confidence.

        That is fitted on answers that nobody led. Raises `InputError`, `PromptError` and `GenerationError`.
        """
        if not 0 <= position < len(answer.steps):
            raise InputError(f"The answer has no token at place {position}; choose one of its {len(answer.steps)}.")
        began = time.perf_counter()
        prompt, kept = answer.prompt, answer.steps[:position]
        params = replace(answer.params, beams=1, length_penalty=1.0)
        steps = list(self.generator.from_prefix(prompt.token_ids, kept, (token_id,), params, cancelled))
        timings = Timings(0.0, None, time.perf_counter() - began)
        return judge(self.answer(prompt, steps, params, timings), self.template, self.generator, None)

    def support(self, answer: Answer, cancelled: threading.Event | None = None) -> tuple[Citation, ...]:
        """The sentences of passages that an answer of this assistant leans on; none of one that declines."""
        if answer.abstained or answer.contrast is None:
            return ()
        return support(answer, self.template, self.generator, cancelled) or ()

    def _retrieve(self, question: str, k: int, keep: Filter) -> list[RetrievedPassage]:
        if self.index is None or self.embedder is None:
            raise InputError("There is no collection to find passages in; name one, or give the passages.")
        embed = self.embedder.embed_question
        return retrieve(self.index, embed, question, k, keep, reranker=self.reranker, join=self.join)

    def _abstained(self, prompt: Prompt, text: str) -> str | None:
        if not speaks(self.language_model, prompt.question):
            return FOREIGN
        if not self.can_answer(prompt):
            return NOTHING_FOUND
        return SAID_SO if is_refusal(text) else None


def prefers_chat(language_model: str) -> bool:
    """Whether a model reads better in its chat form: all but the bundled one, which measured better without."""
    return language_model != "embedded"


def load_assistant(settings: Settings) -> Assistant:
    """Load what the settings name and open the collection. Raises `ModelError` and `CollectionError`."""
    read_own(settings.template, settings.examples_file)  # what is wrong is said before models are loaded
    index = open_collection(settings)
    embedder, generator = load_embedder(settings), load_language_model(settings)
    reranker = load_reranker(settings, generator)
    template = load_template(settings, generator)
    calibration = load_calibration(settings, template)
    return Assistant(
        index,
        embedder,
        generator,
        model_name(settings),
        template,
        reranker,
        settings.join,
        calibration,
        reads_each(settings),
    )


def load_template(settings: Settings, generator: LocalGenerator) -> Template:
    """The template that the settings name, in the form that suits the model. Raises `RagError` for a wrong file."""
    own, examples = read_own(settings.template, settings.examples_file)
    frame, chat = generator.model.chat_frame(), prefers_chat(settings.language_model)
    adapter = reading_adapter(settings)
    name = read_record(adapter)["template"] if adapter else settings.template
    template = choose_template(name, frame, chat, own, settings.target_language)
    return with_examples(template, examples, settings.examples)


def load_calibration(settings: Settings, template: Template) -> Calibration | None:
    """The confidence that the settings name, if it was fitted for what answers; else None. Raises `SettingsError`."""
    if settings.confidence == "none" or (settings.confidence == "auto" and reading_adapter(settings) != BUNDLED):
        return None
    bundled = BUNDLED / CONFIDENCES[reads_each(settings)]
    calibration = read_calibration(bundled if settings.confidence == "auto" else Path(settings.confidence))
    return calibration if calibration.made_for == calibrated_for(settings, template) else None


def calibrated_for(settings: Settings, template: Template) -> dict[str, str]:
    """What a confidence is fitted for, the same on every machine. Raises `ModelError`."""
    adapter = reading_adapter(settings)
    if adapter:  # its merged weights differ in the last bits between machines
        record = read_record(adapter)
        weights = f"{record['base_sha256']} + {record['weights_sha256']}"
    else:
        weights = weights_identity(language_model_folder(settings))
    embedder = embedder_identity(settings.embedder, resolve_embedder(settings.embedder, settings.models_dir))
    reading = "each passage" if reads_each(settings) else "together"
    return identity(weights, settings.language_model_precision, template, str(embedder["weights_sha256"]), reading)


def reading_adapter(settings: Settings) -> Path | None:
    """The adapter that serves what the settings ask for; None where the model answers as it came. Raises `ModelError`.

    It serves the template that it was trained with, which is what "auto" then means, without worked examples.
    """
    if settings.adapter == "none" or settings.examples_file is not None or settings.examples is not None:
        return None
    if settings.adapter != "auto":
        folder = Path(settings.adapter)
    elif settings.language_model == "embedded":
        folder = BUNDLED
    else:
        return None
    return folder if settings.template in ("auto", read_record(folder)["template"]) else None


def reads_each(settings: Settings) -> bool:
    """Whether each passage is read by itself too: measured to help with an adapter for short answers."""
    return settings.read_each and reading_adapter(settings) is not None


def model_name(settings: Settings) -> str:
    """The language model's name, with its adapter's where one serves."""
    adapter = reading_adapter(settings)
    return f"{settings.language_model} + {adapter.name}" if adapter else settings.language_model


def open_collection(settings: Settings) -> LocalIndex:
    """The collection that the settings name, which must have been made with their embedder."""
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    return open_index(
        settings.collection_dir, embedder_identity(settings.embedder, folder, settings.embedder_precision)
    )


def load_embedder(settings: Settings) -> Embedder:
    """The embedder that the settings name, on their device. Raises `ModelError`."""
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    return Embedder(folder, choose_device(settings.device), settings.embedder_precision)


def language_model_folder(settings: Settings) -> Path:
    """Where the weights lie that answer, an adapter's merged into them where one serves. Raises `ModelError`."""
    folder = resolve_language_model(settings.language_model, settings.models_dir, convert_gguf)
    adapter = reading_adapter(settings)
    return merged(folder, adapter, settings.models_dir) if adapter else folder


def load_language_model(settings: Settings) -> LocalGenerator:
    """The sampling loop over the language model that the settings name, on their device. Raises `ModelError`."""
    folder = language_model_folder(settings)
    return LocalGenerator(LanguageModel(folder, choose_device(settings.device), settings.language_model_precision))


def load_reranker(settings: Settings, generator: LocalGenerator | None = None) -> Reranker | None:
    """What the setting `rerank` names; the language model, as it came, is loaded for it unless `generator` is that.

    Raises `ModelError`.
    """
    if settings.rerank == "none":
        return None
    if settings.rerank != "language-model":
        folder = resolve_cross_encoder(settings.rerank, settings.models_dir)
        return cross_encoder(folder, choose_device(settings.device))
    if generator is None or reading_adapter(settings):
        generator = load_language_model(replace(settings, adapter="none"))
    model = generator.model
    return question_likelihood(model.encode, generator.score, model.context_window)
