"""The law of trees: a branch is to the model what its prompt and answer would be alone."""

import pytest
import torch
from torch.nn import functional

from rag.prompting import build_prompt
from rag.schema import Passage, RetrievedPassage
from rag.templates import REFUSAL, choose_template
from rag.tokenizer import Tokenizer
from rag.training_data import Pack
from rag.training_trees import Trees

PASSAGES = ("Ann built the boat. It is blue.\nIt leaks.", "Bob keeps £50 in the shed.")
ASKED = [
    ("Who built the boat?", "Ann"),
    ("Who built the barn?", REFUSAL),
    ("Who built the boat", "Ann"),
    ("who keeps money — and 多少?", "£50"),
    ("Who built the boat?", REFUSAL),
]


def template_of(tokens, form):
    return choose_template(form, tokens.chat_frame())


@pytest.fixture(params=["plain", "chat"])
def form(request):
    return request.param


@pytest.fixture(params=["llama", "qwen"])
def folder(request, tiny_folder):
    return tiny_folder(request.param)


@pytest.fixture
def tokens(folder):
    return Tokenizer(folder)


@pytest.fixture
def trees(tokens, form):
    return Trees(tokens, template_of(tokens, form))


def end_of(tokens, form):
    return tokens.encode("<|end|>", True) if form == "chat" else tokens.encode("\n", False)


def alone(tokens, form, question, answer):
    """The tokens of a prompt, and those of an answer with what ends it."""
    retrieved = [
        RetrievedPassage(Passage(n, "", "", "", text, 0, len(text), "", None, None, ()), n, 0.0, None, None)
        for n, text in enumerate(PASSAGES, start=1)
    ]
    template = template_of(tokens, form)
    prompt = build_prompt(template, question, retrieved, tokens.encode, 2048, tokens.chat_frame())
    written = tokens.encode(answer if form == "chat" else f" {answer}", False) + end_of(tokens, form)
    return list(prompt.token_ids), written


@torch.no_grad()
def read(model, tree):
    """Logits (n, V) where a tree predicts."""
    output = model(
        input_ids=tree.ids[None], attention_mask=tree.mask(), position_ids=tree.positions[None], use_cache=False
    )
    return output.logits[0, tree.predicting]


def without_padding(tree):
    end = int(tree.predicting[-1]) + 1
    return type(tree)(tree.ids[:end], tree.positions[:end], tree.branch[:end], tree.predicting, tree.wanted)


@pytest.mark.parametrize("asked", [ASKED, ASKED[:1], ASKED[3:4] * 2], ids=["several", "one", "the same twice"])
def test_a_branch_is_what_its_prompt_would_be_alone(folder, tokens, trees, form, transformers_model, asked):
    model = transformers_model(folder)
    tree = trees.tree(PASSAGES, asked)
    logits, wanted, loss = [], [], 0.0
    for question, answer in asked:
        prompt, written = alone(tokens, form, question, answer)
        with torch.no_grad():
            output = model(torch.tensor([prompt + written])).logits[0, len(prompt) - 1 : -1]
        logits.append(output)
        wanted += written
        loss += functional.cross_entropy(output, torch.tensor(written), reduction="sum").item()
    assert tree.wanted.tolist() == wanted
    in_tree = read(model, tree)
    torch.testing.assert_close(in_tree, torch.cat(logits), atol=1e-4, rtol=0)
    assert functional.cross_entropy(in_tree, tree.wanted, reduction="sum").item() == pytest.approx(loss, rel=1e-5)


def test_padding_changes_nothing(folder, trees, transformers_model):
    model = transformers_model(folder)
    for n in range(1, len(ASKED) + 1):
        tree = trees.tree(PASSAGES, ASKED[:n])
        assert len(tree.ids) == len(tree.positions) == len(tree.branch)
        assert len(tree.ids) % 64 == 0
        bare = without_padding(tree)
        assert len(tree.ids) - len(bare.ids) < 64
        torch.testing.assert_close(read(model, tree), read(model, bare), atol=1e-5, rtol=0)
        assert (tree.branches, bare.branches) == (n, n)


def test_no_token_sees_another_branch_or_a_later_one(trees):
    tree = trees.tree(PASSAGES, ASKED)
    mask = tree.mask()
    assert mask.shape == (1, 1, len(tree.ids), len(tree.ids))
    branch = tree.branch.tolist()
    for at, own in enumerate(branch):
        sees = [other <= at and branch[other] in (0, own) for other in range(len(branch))]
        assert mask[0, 0, at].tolist() == sees


def test_other_words_in_a_branch_change_no_other(folder, trees, transformers_model):
    model = transformers_model(folder)
    tree = trees.tree(PASSAGES, ASKED)
    before = read(model, tree)
    tree.ids[tree.branch == 2] = 7
    after = read(model, tree)
    own = tree.branch[tree.predicting] == 2
    assert torch.equal(before[~own], after[~own])
    assert not torch.equal(before[own], after[own])


def test_positions_count_along_trunk_and_branch(trees):
    tree = without_padding(trees.tree(PASSAGES, ASKED))
    trunk = int((tree.branch == 0).sum())
    assert trunk > len("".join(PASSAGES)), "the passages are read once"
    assert tree.positions[:trunk].tolist() == list(range(trunk))
    for number in range(1, tree.branches + 1):
        own = tree.positions[tree.branch == number].tolist()
        assert own == list(range(trunk, trunk + len(own)))


def test_an_answer_ends_as_the_model_is_to_end_it(tokens, trees, form):
    tree = trees.of(Pack(PASSAGES, (("Who built the boat?", "Ann"), ("Who sank it?", None))))
    begin = "" if form == "chat" else " "
    answers = [tokens.encode(f"{begin}{text}", False) + end_of(tokens, form) for text in ("Ann", REFUSAL)]
    assert tree.wanted.tolist() == [*answers[0], *answers[1]]


def test_whole_says_of_which_branches_every_prediction_is_right(trees):
    tree = trees.tree(PASSAGES, ASKED)
    places = tree.branch[tree.predicting]
    right = torch.ones(len(tree.wanted), dtype=torch.bool)
    assert tree.whole(right) == [True] * len(ASKED)
    for number in range(1, len(ASKED) + 1):
        for at in (places == number).nonzero().flatten().tolist():
            wrong = right.clone()
            wrong[at] = False
            assert tree.whole(wrong) == [n != number for n in range(1, len(ASKED) + 1)]
    assert tree.whole(~right) == [False] * len(ASKED)
    assert set(places.tolist()) == set(range(1, len(ASKED) + 1))


def test_an_answer_that_did_not_fit_into_the_prompt_is_not_learnt(tokens, trees):
    long = "The boat is old. " * 200 + "Ann built it."
    asked = (("Is it old?", "old"), ("Who built it?", "Ann"))
    tree = trees.of(Pack((long,), asked))
    assert int(tree.positions.max()) < 2048 + 64
    fits = trees.of(Pack((long[-600:],), asked))
    assert REFUSAL in tokens.decode(tree.wanted.tolist())
    assert REFUSAL not in tokens.decode(fits.wanted.tolist())
    assert tokens.decode(tree.wanted.tolist()).count("old") == 1
