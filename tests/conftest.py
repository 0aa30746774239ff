"""Small real things that the tests share: the bundled models, tiny random ones, a byte tokenizer, an embedder."""

import hashlib
import io
import os
import signal
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import pytest
import torch
from hypothesis import settings
from reportlab.pdfgen.canvas import Canvas
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rag.assistant import Assistant
from rag.embedding import Embedder
from rag.generation import LocalGenerator
from rag.index import open_index
from rag.index.records import Source
from rag.language_model import LanguageModel, convert_gguf
from rag.models import bundled_file, prepared, resolve_language_model
from rag.schema import Document, Span
from rag.settings import default_home

# What a shell starts in the background is deaf to Ctrl-C, and so would be all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no error; CI tries the same examples every time, people's own runs look for new ones.
settings.register_profile("openbook", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("openbook")

EXAMPLES = Path(__file__).parents[1] / "examples"
DIMENSION = 64
IDENTITY = {"name": "hashing", "weights_sha256": "0", "configuration_sha256": "0", "dimension": DIMENSION}
CHAT_TEMPLATE = "{% for m in messages %}<|start|>{{ m.content }}<|end|>{% endfor %}<|start|>"


class HashingEmbedder:
    """Words -> a unit vector: texts that share words are near. Real enough to retrieve with, and instant."""

    dimension = DIMENSION

    def embed_passages(self, texts, on_progress=None):
        return np.stack([self.embed_question(text) for text in texts])

    def embed_question(self, question):
        vector = np.full(DIMENSION, 1e-3, dtype=np.float32)
        for word in question.lower().split():
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % DIMENSION] += 1
        return vector / np.linalg.norm(vector)


def pdf(*pages, **options):
    """The bytes of a PDF whose pages have these lines."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, **options)
    for lines in pages:
        for n, line in enumerate(lines):
            canvas.drawString(72, 720 - 20 * n, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def byte_tokenizer():
    """Every byte is a token, so every character of more than one byte spans tokens; plus two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", additional_special_tokens=["<|start|>"], model_max_length=512
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_model(kind):
    """A random model of an architecture, small enough to run in milliseconds."""
    torch.manual_seed(0)
    shape = {"vocab_size": 258, "bos_token_id": None, "eos_token_id": None}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=512, **shape))
    config, model = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen": (Qwen2Config, Qwen2ForCausalLM)}[kind]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return model(config(num_key_value_heads=2, max_position_embeddings=8192, **sizes, **shape))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """kind -> a folder with a tiny random model and the byte tokenizer, as a user's own model would lie there."""
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            tiny_model(kind).save_pretrained(made[kind])
            byte_tokenizer().save_pretrained(made[kind])
        return made[kind]

    return make


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """kind -> a loaded tiny model."""
    return lambda kind="llama": LanguageModel(tiny_folder(kind), "cpu")


@pytest.fixture(scope="session")
def bundled_folder():
    """The folder of the bundled language model, prepared once per machine."""
    return resolve_language_model("embedded", default_home() / "models", convert_gguf)


@pytest.fixture(scope="session")
def language_model(bundled_folder):
    """The bundled language model."""
    return LanguageModel(bundled_folder, "cpu")


@pytest.fixture(scope="session")
def transformers_model():
    """folder -> the same model as transformers runs it, to compare with."""
    made = {}

    def load(folder):
        if folder not in made:
            made[folder] = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return made[folder]

    return load


@pytest.fixture(scope="session")
def generator(language_model):
    """The sampling loop over the bundled model."""
    return LocalGenerator(language_model)


@pytest.fixture(scope="session")
def embedder():
    """The bundled embedder."""
    return Embedder(bundled_file("embedder"), "cpu")


@pytest.fixture
def hashing():
    """The instant embedder."""
    return HashingEmbedder()


@pytest.fixture
def index(tmp_path):
    """An empty collection for the hashing embedder."""
    opened = open_index(tmp_path / "collection", IDENTITY, create=True)
    yield opened
    opened.close()


@pytest.fixture
def put():
    """Store texts as documents of one passage each, a path each."""

    def put_texts(index, texts, prefix="doc"):
        with index.writing():
            for n, text in enumerate(texts):
                document_id = hashlib.sha256(text.encode()).hexdigest()
                path = f"/{prefix}{n}.txt"
                document = Document(document_id, (path,), f"Title {n}", "text/plain", text)
                vectors = HashingEmbedder().embed_passages([text])
                index.put_document(document, [Span(0, len(text))], vectors, Source(path, 1, 1, document_id))

    return put_texts


@pytest.fixture
def assistant(index, put, tiny):
    """A tiny model over two passages."""
    put(index, ["boats float", "oars row"])
    return Assistant(index, HashingEmbedder(), LocalGenerator(tiny()), "tiny", "plain")


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home folder that shares the prepared models of this machine and holds the examples as a collection."""
    from ui.cli import main

    folder = tmp_path_factory.mktemp("home")
    models = default_home() / "models"
    resolve_language_model("embedded", models, convert_gguf)
    (folder / "models").mkdir()  # of its own, so that what tests prepare does not stay on the machine
    for model in prepared(models):
        (folder / "models" / model.name).symlink_to(model)
    arguments = ["--home", str(folder), "--collection", "examples", "--quiet"]
    assert main(["ingest", str(EXAMPLES / "documents"), *arguments]) == 0
    return folder


@pytest.fixture
def rag(home, tiny_folder, capsys, monkeypatch):
    """Run a command on the examples' collection with a tiny language model; (exit code, stdout, stderr)."""
    monkeypatch.setenv("RAG_HOME", str(home))
    monkeypatch.setenv("RAG_COLLECTION", "examples")

    from ui.cli import main

    def run(*arguments):
        arguments = [str(tiny_folder("llama")) if a == "TINY" else str(a) for a in arguments]
        try:
            code = main(arguments)
        except SystemExit as stopped:  # argparse
            code = stopped.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run
