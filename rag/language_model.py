"""LanguageModel: token ids -> logits of the next token, with a KV cache. The only module that uses transformers.

P(next token | tokens so far) and nothing more: drawing a token is for `generation`.
"""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache, GgufConfig

from rag.errors import ModelError

_SLOT = "\x00content\x00"


class Cache:
    """Keys and values of the tokens that were read so far."""

    def __init__(self, config: Any) -> None:
        """Start empty, for a model of this configuration."""
        self.layers = DynamicCache(config=config)

    def __len__(self) -> int:
        """How many tokens were read."""
        return int(self.layers.get_seq_length())


class LanguageModel:
    """A loaded causal language model with its tokenizer: float32 on a CPU, the checkpoint's own precision elsewhere."""

    def __init__(self, folder: Path, device: str) -> None:
        """Load from a local folder; never reaches a network. Raises `ModelError`."""
        try:
            with _quiet():
                config = AutoConfig.from_pretrained(folder, local_files_only=True)
                self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model: Any = AutoModelForCausalLM.from_pretrained(
                    folder, config=config, local_files_only=True, dtype=torch.float32 if device == "cpu" else "auto"
                )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The language model in {folder} cannot be loaded ({error}); choose another.") from error
        self.model = model.to(device).eval()
        self.device = device
        self.context_window = int(getattr(config, "max_position_embeddings", 0) or self.tokenizer.model_max_length)
        self.end_tokens = self._end_tokens()

    def _end_tokens(self) -> frozenset[int]:
        listed = self.model.generation_config.eos_token_id
        ids = listed if isinstance(listed, list) else [listed]
        return frozenset(i for i in [*ids, self.tokenizer.eos_token_id] if i is not None)

    # text and tokens

    def encode(self, text: str, trusted: bool) -> list[int]:
        """Token ids of a text; in text that is not trusted, the names of special tokens are plain text."""
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=not trusted, verbose=False
        )
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out, bytes of an incomplete character as U+FFFD."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def token_text(self, token_id: int) -> str:
        """The text of one token by itself, special tokens by their name; for showing, not for joining."""
        text: str = self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
        return text

    def chat_frame(self) -> tuple[str, str] | None:
        """What the chat template puts before and after a user's message; None where the model has no template."""
        if not self.tokenizer.chat_template:
            return None
        messages = [{"role": "user", "content": _SLOT}]
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        before, after = text.split(_SLOT)
        return before, after

    # logits

    def new_cache(self) -> Cache:
        """An empty cache."""
        return Cache(self.model.config)

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int], cache: Cache) -> Tensor:
        """Read tokens after those in the cache; float32 logits (V,) of the token that comes next, on the CPU."""
        logits = self._forward(token_ids, cache, 1)
        return logits[0]

    @torch.inference_mode()
    def score(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> Tensor:
        """Log-probabilities (n,) of given tokens after a prompt, in one forced pass."""
        logits = self._forward([*prompt_ids, *token_ids[:-1]], self.new_cache(), len(token_ids))
        logprobs = logits.log_softmax(-1)
        return logprobs.gather(1, torch.tensor(token_ids)[:, None])[:, 0]

    def _forward(self, token_ids: Sequence[int], cache: Cache, keep: int) -> Tensor:
        """Logits (keep, V) after the last `keep` tokens. 16-bit logits are too coarse for log-probabilities: upcast."""
        ids = torch.tensor([list(token_ids)], device=self.device)
        output = self.model(ids, past_key_values=cache.layers, use_cache=True, logits_to_keep=keep)
        logits: Tensor = output.logits[0].float().cpu()
        return logits


def convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file as float32 safetensors with its tokenizer into a folder: 20 s for 135M parameters."""
    with _quiet(), contextlib.redirect_stderr(io.StringIO()):  # a bar that nothing else turns off
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),  # else weights stay in blocks, ten times slower on a CPU
            dtype=torch.float32,
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model.hf_quantizer = None  # else save_pretrained refuses
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' advice off the terminal; its progress bars are off by environment."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
