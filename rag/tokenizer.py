"""Tokenizer: text <-> token ids, and what a model's folder says besides: chat format, context window, end tokens.

Reads a few small files; the weights are for `language_model`, and for `finetuning` where they are to change.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from rag.errors import ModelError

RECURRENT = "A model with recurrent or chunked layers cannot be looked into token by token; choose another."
_SLOT = "\x00content\x00"


class Tokenizer:
    """The tokens of one language model. Several threads may use it at once."""

    def __init__(self, folder: Path) -> None:
        """Read a local folder; never reaches a network. Raises `ModelError`."""
        try:
            self.config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.context_window = _context_window(self.config, self.tokenizer)
            self.end_tokens = _end_tokens(folder, self.config, self.tokenizer)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The language model in {folder} cannot be loaded ({error}); choose another.") from error
        self._encoding = threading.Lock()

    def encode(self, text: str, trusted: bool) -> list[int]:
        """Token ids of a text; in text that is not trusted, the names of special tokens are plain text."""
        with self._encoding:  # the tokenizer keeps `split_special_tokens` as a state that all threads share
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


def _end_tokens(folder: Path, config: Any, tokenizer: Any) -> frozenset[int]:
    """What ends an answer, as generation_config.json says, which not every model has, or its configuration."""
    if (folder / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
    else:
        generation = GenerationConfig.from_model_config(config)
    listed: Any = generation.eos_token_id
    ids = listed if isinstance(listed, list) else [listed]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def _context_window(config: Any, tokenizer: Any) -> int:
    """Tokens that the model can read; not more than a layer sees that only looks back so far."""
    window = int(getattr(config, "max_position_embeddings", 0) or tokenizer.model_max_length)
    layers = getattr(config, "layer_types", None) or ()
    if any(kind not in ("full_attention", "sliding_attention") for kind in layers):
        raise ModelError(RECURRENT)
    sliding = getattr(config, "sliding_window", None)
    return min(window, int(sliding)) if sliding and ("sliding_attention" in layers or not layers) else window
