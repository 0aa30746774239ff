"""Our sampling loop against `transformers.generate`: same model, same prompts, same tokens, in turns in one run.

python -m benchmarks.decoding
"""

import statistics
import time

import torch
import transformers

from rag.generation import LocalGenerator
from rag.language_model import LanguageModel, convert_gguf
from rag.models import resolve_language_model
from rag.schema import SamplingParams
from rag.settings import default_home

PROMPT_TOKENS = (100, 600)
NEW_TOKENS = 40
ROUNDS = 5


def run() -> None:
    model = LanguageModel(resolve_language_model("embedded", default_home() / "models", convert_gguf), "cpu")
    generator = LocalGenerator(model)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    text = (
        "The workshop keeps its boats on the slipway below the old ropeworks, and every spring they are tarred anew. "
    )
    for length in PROMPT_TOKENS:
        prompt = model.encode(text * 40, trusted=True)[:length]
        ours, theirs = [], []
        for _ in range(ROUNDS):
            seconds, tokens = timed(lambda p=prompt: ids_of(generator, p))
            ours.append(seconds)
            seconds, expected = timed(lambda p=prompt: by_transformers(model, p))
            theirs.append(seconds)
            assert tokens == expected, "not the same tokens"
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        print(
            f"prompt {length:4}, {NEW_TOKENS} new tokens, end to end: ours {statistics.median(ours):.2f} s, "
            f"generate {statistics.median(theirs):.2f} s, ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}, n={ROUNDS})"
        )


def timed(call):  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def ids_of(generator: LocalGenerator, prompt: list[int]) -> list[int]:
    return [step.token_id for step in generator.stream(prompt, SamplingParams(max_new_tokens=NEW_TOKENS))]


def by_transformers(model: LanguageModel, prompt: list[int]) -> list[int]:
    given = torch.tensor([prompt])
    made = model.model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, num_beams=1, max_new_tokens=NEW_TOKENS
    )
    return made[0, len(prompt) :].tolist()


if __name__ == "__main__":
    run()
