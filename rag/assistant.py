"""Assistant: the stages in order, from a question to an answer that shows how it came about.

    question -> embed -> retrieve -> build the prompt -> sample -> answer

Every way in (command line, web page, evaluation) asks here and nowhere else.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rag.embedding import Embedder, choose_device
from rag.errors import SettingsError
from rag.generation import LocalGenerator, new_seed
from rag.index import LocalIndex, open_index
from rag.language_model import LanguageModel, convert_gguf
from rag.models import embedder_identity, resolve_embedder, resolve_language_model
from rag.prompting import REFUSAL, TEMPLATES, build_prompt, choose_template
from rag.retrieval import retrieve
from rag.schema import Answer, Prompt, RetrievedPassage, SamplingParams, Timings, TokenStep
from rag.settings import Settings

Event = Prompt | TokenStep | Answer
NOTHING_FOUND = "no passage of the collection matches the question"
SAID_SO = "the model says that the documents do not answer this"


class Assistant:
    """Answers questions from one collection with one embedder and one language model."""

    def __init__(
        self,
        index: LocalIndex,
        embedder: Embedder,
        generator: LocalGenerator,
        language_model: str,
        template: str = "auto",
    ) -> None:
        """Put loaded parts together. `template` "auto" is the form that measured best for the kind of model."""
        self.index = index
        self.embedder = embedder
        self.generator = generator
        self.language_model = language_model
        frame = generator.model.chat_frame()
        automatic = "examples" if language_model == "embedded" or frame is None else "chat"
        self.template = automatic if template == "auto" else template
        self._stop = choose_template(self.template, frame).stop

    def ask(self, question: str, params: SamplingParams | None = None, k: int = 3) -> Answer:
        """Answer a question from the k best passages. Raises `InputError` and `PromptError`."""
        *_, answer = self.stream(question, params, k)
        if not isinstance(answer, Answer):
            raise TypeError("a stream ends with its answer")
        return answer

    def stream(
        self,
        question: str,
        params: SamplingParams | None = None,
        k: int = 3,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Event]:
        """As `ask`, as it happens: the prompt with its passages, a step a token, and the answer last."""
        began = time.perf_counter()
        params = self._complete(params or SamplingParams())
        retrieved = retrieve(self.index, self.embedder.embed_question, question, k)
        prompt = self._prompt(question, retrieved, params)
        found = time.perf_counter()
        yield prompt
        steps: list[TokenStep] = []
        first: float | None = None
        if prompt.passages:
            for step in self.generator.stream(prompt.token_ids, params, cancelled):
                first = first or time.perf_counter() - began
                steps.append(step)
                yield step
        text = "".join(step.text for step in steps).strip()
        yield Answer(
            prompt=prompt,
            text=text,
            steps=tuple(steps),
            params=params,
            language_model=self.language_model,
            timings=Timings(found - began, first, time.perf_counter() - began),
            abstained=_abstained(prompt, text),
        )

    def _complete(self, params: SamplingParams) -> SamplingParams:
        """Fix the seed, so that the answer can be made again, and add what ends the template's answers."""
        seed = new_seed() if params.seed is None else params.seed
        return replace(params, seed=seed, stop=tuple(dict.fromkeys((*params.stop, *self._stop))))

    def _prompt(self, question: str, retrieved: Sequence[RetrievedPassage], params: SamplingParams) -> Prompt:
        model = self.generator.model
        budget = model.context_window - params.max_new_tokens
        return build_prompt(self.template, question, retrieved, model.encode, budget, model.chat_frame())


def _abstained(prompt: Prompt, text: str) -> str | None:
    if not prompt.passages:
        return NOTHING_FOUND
    return SAID_SO if text.lower().startswith(REFUSAL.rstrip(".").lower()) else None


def load_assistant(settings: Settings) -> Assistant:
    """Load what the settings name and open the collection. Raises `ModelError` and `CollectionError`."""
    if settings.template not in ("auto", *TEMPLATES):
        raise SettingsError(f"Unknown template {settings.template!r}; use one of: auto, {', '.join(TEMPLATES)}.")
    index, embedder = load_retriever(settings)
    return Assistant(index, embedder, load_language_model(settings), settings.language_model, settings.template)


def load_language_model(settings: Settings) -> LocalGenerator:
    """The sampling loop over the language model that the settings name, on their device. Raises `ModelError`."""
    folder = resolve_language_model(settings.language_model, settings.models_dir, convert_gguf)
    return LocalGenerator(LanguageModel(folder, choose_device(settings.device)))


def load_retriever(settings: Settings) -> tuple[LocalIndex, Embedder]:
    """The open collection and its embedder: all that a search without an answer needs."""
    folder: Path = resolve_embedder(settings.embedder, settings.models_dir)
    index = open_index(settings.collection_dir, embedder_identity(settings.embedder, folder))
    return index, Embedder(folder, choose_device(settings.device))
