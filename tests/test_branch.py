"""Laws of a branch: the same as if everything had been forced from scratch, but what is kept is not read again."""

import pytest

from rag.errors import GenerationError, PromptError
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.counting import PROMPT, Counting, agree, alone, ids, sampled

GREEDY_AND_SAMPLED = [SamplingParams(max_new_tokens=30), sampled(30, seed=8, top_k=40)]


def branch(generator, prompt, kept, forced, params):
    return list(generator.from_prefix(prompt, kept, [forced], params))


def another(step):
    """An alternative that was not taken."""
    return next(a.token_id for a in step.alternatives if a.token_id != step.token_id)


@pytest.mark.parametrize("kind", ["llama", "qwen", "gpt2"])
@pytest.mark.parametrize(
    "params", [SamplingParams(max_new_tokens=30), sampled(30, seed=8, top_k=40)], ids=["greedy", "sampled"]
)
@pytest.mark.parametrize("n", [0, 1, 7])
def test_branch_equals_forcing_from_scratch(tiny, kind, params, n):
    model = tiny(kind)
    prompt = model.encode(PROMPT, True)
    generator = LocalGenerator(model)
    steps = list(generator.stream(prompt, params))
    forced = another(steps[n])
    branched = branch(generator, prompt, steps[:n], forced, params)
    assert ids(branched[: n + 1]) == [*ids(steps[:n]), forced]
    for other in (LocalGenerator(model, prefix_bytes=0, drafts=False), LocalGenerator(model)):
        assert agree(branched, branch(other, prompt, steps[:n], forced, params))
    (logprobs,) = LocalGenerator(model).score([(prompt, ids(branched))])
    assert abs(logprobs - [s.logprob for s in branched]).max() < 1e-4


def test_forcing_what_was_drawn_changes_nothing(tiny):
    # So the tokens after it were drawn with the random numbers of their places.
    model = tiny()
    prompt = model.encode(PROMPT, True)
    params = sampled(40, seed=3, min_new_tokens=40)
    steps = alone(model, prompt, params)
    for n in (0, 5, 38):
        branched = branch(LocalGenerator(model), prompt, steps[:n], steps[n].token_id, params)
        assert agree(branched, steps)


def test_what_is_kept_is_not_read_again(tiny):
    model = Counting(tiny())
    prompt = model.encode(PROMPT * 4, True)
    generator = LocalGenerator(model, drafts=False)
    steps = list(generator.stream(prompt, sampled(30, min_new_tokens=30)))
    before = model.count
    branch(generator, prompt, steps[:20], another(steps[20]), sampled(22, min_new_tokens=22))
    assert model.count - before == 1 + 1  # the last one that is kept, for its logits, and the forced one


def test_a_forced_end_token_ends(tiny):
    model = tiny()
    prompt = model.encode(PROMPT, True)
    steps = alone(model, prompt, SamplingParams(max_new_tokens=9))
    branched = branch(LocalGenerator(model), prompt, steps[:4], min(model.end_tokens), SamplingParams())
    assert (len(branched), branched[-1].finish_reason, branched[-1].text) == (5, "end_token", "")


@pytest.mark.parametrize("forced", [-1, 258, 10**6])
def test_a_token_that_is_none_is_refused(tiny, forced):
    model = tiny()
    prompt = model.encode(PROMPT, True)
    with pytest.raises(GenerationError, match=f"Token {forced} is none"):
        branch(LocalGenerator(model), prompt, [], forced, SamplingParams())


def test_a_branch_beyond_the_longest_answer_is_refused(tiny):
    model = tiny()
    prompt = model.encode(PROMPT, True)
    steps = alone(model, prompt, SamplingParams(max_new_tokens=6, logit_bias=((min(model.end_tokens), -1e9),)))
    with pytest.raises(PromptError, match="max_new_tokens"):
        branch(LocalGenerator(model), prompt, steps, 5, SamplingParams(max_new_tokens=6))
    branched = branch(LocalGenerator(model), prompt, steps[:5], 5, SamplingParams(max_new_tokens=6))
    assert (len(branched), branched[-1].finish_reason) == (6, "max_new_tokens")


@pytest.mark.parametrize("kept", ["end token", "stop string"])
def test_a_branch_behind_the_end_is_refused(tiny, kept):
    model = tiny()
    prompt = model.encode(PROMPT, True)
    last = {"end token": min(model.end_tokens), "stop string": model.encode("#", True)[0]}[kept]
    params = SamplingParams(stop=("#",))
    steps = branch(LocalGenerator(model), prompt, [], last, params)
    assert steps[-1].finish_reason in ("end_token", "stop_string")
    with pytest.raises(PromptError, match="behind its end"):
        branch(LocalGenerator(model), prompt, steps, 5, params)


def written(generator, prompt, token_ids):
    """The steps of an answer of just these tokens."""
    steps = []
    for n, token_id in enumerate(token_ids, start=1):
        steps = branch(generator, prompt, steps, token_id, SamplingParams(max_new_tokens=n))
    return steps


def test_a_branch_inside_a_character(tiny):
    model = tiny()
    prompt, boat, word = (model.encode(text, True) for text in (PROMPT, "船", "言"))
    assert boat[0] == word[0]
    assert boat[1] != word[1]
    generator = LocalGenerator(model)
    steps = written(generator, prompt, boat)
    assert [s.text for s in steps] == ["", "", "船"]
    broken = branch(generator, prompt, steps[:1], word[1], SamplingParams(max_new_tokens=2))
    assert [s.text for s in broken] == ["", model.decode(word[:2])]
    whole = branch(generator, prompt, broken, word[2], SamplingParams(max_new_tokens=3))
    assert [s.text for s in whole] == ["", "", "言"]


def test_a_branch_stops_at_a_stop_string_that_begins_in_what_is_kept(tiny):
    model = tiny()
    prompt = model.encode(PROMPT, True)
    generator = LocalGenerator(model)
    steps = written(generator, prompt, model.encode("ab", True))
    branched = branch(generator, prompt, steps, model.encode("c", True)[0], SamplingParams(stop=("bc",)))
    assert ["".join(s.text for s in branched), branched[-1].finish_reason, len(branched)] == ["a", "stop_string", 3]
