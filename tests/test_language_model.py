"""Laws of a loaded model: what it can read, whatever its architecture, and which ones are refused."""

import pytest
import torch
import transformers

from rag.errors import ModelError
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.schema import SamplingParams
from tests.conftest import byte_tokenizer
from tests.counting import PROMPT, alone, ids, rows_of, sampled

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
NO_IDS = {"vocab_size": 258, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
GQA = {"num_key_value_heads": 2, "max_position_embeddings": 200}
OTHERS = {
    "mistral": ("Mistral", GQA | {"sliding_window": 16}),
    "mistral-full": ("Mistral", GQA | {"sliding_window": None}),
    "mixtral": ("Mixtral", GQA | {"sliding_window": 16, "num_local_experts": 2}),
    "starcoder2": ("Starcoder2", GQA | {"sliding_window": 16}),
    "phi3": ("Phi3", GQA | {"sliding_window": 16}),
    "gemma": ("Gemma", GQA | {"head_dim": 8}),
    "gemma2": ("Gemma2", GQA | {"head_dim": 8, "sliding_window": 16}),
    "gemma3": ("Gemma3Text", GQA | {"head_dim": 8, "sliding_window": 16}),
    "qwen2-sliding": ("Qwen2", GQA | {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}),
    "qwen3": ("Qwen3", GQA | {"head_dim": 8}),
    "gpt-neox": ("GPTNeoX", {"max_position_embeddings": 200}),
    "olmo2": ("Olmo2", GQA),
    "granite": ("Granite", GQA),
    "llama-wide-heads": ("Llama", GQA | {"head_dim": 16, "attention_bias": True, "mlp_bias": True}),
}
LOOKS_BACK_16 = {"mistral", "mixtral", "starcoder2", "phi3", "gemma2", "gemma3", "qwen2-sliding"}


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """name -> a folder with a tiny random model of another architecture."""
    made = {}

    def make(name, architecture, options):
        if name not in made:
            torch.manual_seed(0)
            config_class = getattr(transformers, f"{architecture}Config")
            model_class = getattr(transformers, architecture.removesuffix("Text") + "ForCausalLM")
            model = model_class(config_class(**(SIZES | NO_IDS | options)))
            made[name] = tmp_path_factory.mktemp(name)
            model.save_pretrained(made[name])
            byte_tokenizer().save_pretrained(made[name])
        return made[name]

    return make


@pytest.mark.parametrize("name", OTHERS)
def test_every_architecture_is_what_transformers_makes_of_it(other, name):
    folder = other(name, *OTHERS[name])
    model = LanguageModel(folder, "cpu")
    window = 16 if name in LOOKS_BACK_16 else 200
    assert model.context_window == window
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = (model.encode(PROMPT, True) * 3)[:window]
    with torch.no_grad():
        expected = theirs(torch.tensor([text])).logits[0].log_softmax(-1)
    cache = model.new_cache()
    parts = [model.read([text[a:b]], cache, keep=b - a)[0] for a, b in ((0, 5), (5, 6), (6, 9), (9, window))]
    assert (torch.cat(parts).log_softmax(-1) - expected).abs().max() < 1e-4
    generator = LocalGenerator(model)
    prompts, params = [text[:3], text[:11]], [sampled(5, seed=n) for n in range(2)]
    rows = rows_of(generator.batch(prompts, params))
    assert [ids(rows[n]) for n in range(2)] == [ids(alone(model, prompts[n], params[n])) for n in range(2)]
    steps = list(generator.stream(text[:12], SamplingParams(max_new_tokens=window)))
    assert steps[-1].finish_reason in ("context_full", "end_token")


RECURRENT = {
    "mamba": ("Mamba", {"state_size": 4}),
    "mamba2": ("Mamba2", {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1}),
    "rwkv": ("Rwkv", {"attention_hidden_size": 32, "context_length": 200}),
    "recurrent-gemma": ("RecurrentGemma", {"num_key_value_heads": 1, "lru_width": 32, "num_hidden_layers": 3}),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_models_are_refused(other, name):
    with pytest.raises(ModelError, match="recurrent"):
        LanguageModel(other(name, *RECURRENT[name]), "cpu")


@pytest.mark.parametrize("name", ["gemma", "qwen3", "gpt-neox"])
def test_int8_serves_other_architectures_too(other, name):
    folder = other(name, *OTHERS[name])
    exact, near = LanguageModel(folder, "cpu"), LanguageModel(folder, "cpu", "int8")
    difference = LocalGenerator(near).next_token([1, 2, 3]) - LocalGenerator(exact).next_token([1, 2, 3])
    assert 0 < abs(difference).max() < 0.2
