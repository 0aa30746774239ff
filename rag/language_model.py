"""LanguageModel: token ids -> logits of the next token, with a KV cache.

P(next token | tokens so far) and nothing more: drawing a token is for `generation`.
"""

import contextlib
import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, GgufConfig

from rag.errors import GenerationError, ModelError
from rag.kv_cache import KVCache, Reading, enough_memory
from rag.linear import float_linear, int8_linear, quantise
from rag.llama import LlamaForward, fits
from rag.tokenizer import RECURRENT, Tokenizer

# What one more token in a step costs, as a share of a step with one (docs/benchmarks.md).
_DRAFT_COST = {"float32": 0.1, "int8": 0.06, "other": 0.02}
Forward = Callable[[Tensor, KVCache, Reading, int], Tensor]  # ids (rows, n) -> logits (rows, keep, V)


class LanguageModel(Tokenizer):
    """A loaded causal language model with its tokenizer: float32 on a CPU, the checkpoint's own precision elsewhere."""

    def __init__(self, folder: Path, device: str, precision: str = "float32") -> None:
        """Load from a local folder; never reaches a network. Raises `ModelError`.

        `precision` "int8" runs the linear layers in 8-bit integers, on a CPU only: faster, nearly the same.
        """
        if precision not in ("float32", "int8"):
            raise ModelError(f"Unknown precision {precision!r} of the language model; use float32 or int8.")
        if precision == "int8" and device != "cpu":
            raise ModelError(
                f"An int8 language model runs on cpu only, not on {device}; use float32 or the device cpu."
            )
        with quiet():
            super().__init__(folder)
            model = load_weights(folder, torch.float32 if device == "cpu" else "auto")
        self.device = device
        self.precision = precision if device == "cpu" else "other"
        self.draft_cost = _DRAFT_COST[self.precision]
        self._layers = int(self.config.num_hidden_layers)
        self._forward = _forward(model.to(device).eval(), precision)

    def new_cache(self, rows: int = 1) -> KVCache:
        """An empty cache for this many rows."""
        return KVCache(self._layers, rows, self.device)

    @torch.inference_mode()
    def read(self, ids: Sequence[Sequence[int]], cache: KVCache, first: int = 0, keep: int = 1) -> Tensor:
        """Read n more tokens in each of some rows of the cache, from row `first` on.

        Float32 logits (rows, keep, V) after the last `keep` of them, on the CPU; 16-bit logits are too coarse for
        log-probabilities, so they are widened before anything is made of them. Raises `GenerationError`.
        """
        with enough_memory():
            at = cache.begin(len(ids[0]), first, len(ids))
            logits = self._forward(torch.tensor(ids, device=self.device), cache, at, keep).float().cpu()
        if not math.isfinite(highest := float(logits.max())):  # NaN too comes out highest
            raise GenerationError(
                f"The language model's highest logit is {highest:g}, not a number to go on with; check the model with "
                "`rag models verify`, or take another one."
            )
        cache.commit(ids, first)
        return logits


def load_weights(folder: Path, dtype: torch.dtype | Literal["auto"]) -> Any:
    """transformers' own model, on the CPU. Raises `ModelError`."""
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The language model in {folder} cannot be loaded ({error}); choose another.") from error
    if getattr(model, "_is_stateful", False):
        raise ModelError(RECURRENT)
    return model


def _forward(model: Any, precision: str) -> Forward:
    """The model as a function: our own pass where it is of Llama's shape, else transformers'."""
    if fits(model.config):
        return LlamaForward(model, int8_linear if precision == "int8" else lambda layer, _: float_linear(layer))
    if precision == "int8" and quantise(model, fine=True) < 0.5:
        raise ModelError(
            f"Most of a {model.config.model_type} model's weights are in layers that have no int8 form; use float32."
        )
    return partial(_by_transformers, model)


def _by_transformers(model: Any, ids: Tensor, cache: KVCache, at: Reading, keep: int) -> Tensor:
    """Logits (rows, keep, V) by transformers' own forward pass, whatever the architecture."""
    seen = torch.arange(at.end, device=ids.device) <= at.positions[:, None, :, None]
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=ids.device)
    mask.masked_fill_(~seen, torch.finfo(model.dtype).min)
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=at.positions,
        past_key_values=_CacheForTransformers(cache, at),
        use_cache=True,
        logits_to_keep=keep,
    )
    logits: Tensor = output.logits
    return logits


class _CacheForTransformers(DynamicCache):
    """Our cache as transformers' models know one."""

    def __init__(self, cache: KVCache, at: Reading) -> None:
        super().__init__()
        self._cache = cache
        self._at = at

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Store what a layer computed and return all that it may see."""
        return self._cache.write(layer_idx, key_states, value_states, self._at)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that were read before."""
        return self._at.end - self._at.n


def convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file as float32 safetensors with its tokenizer into a folder: 20 s for 135M parameters."""
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # a bar that nothing else turns off
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
def quiet() -> Iterator[None]:
    """Keep transformers' advice off the terminal; its progress bars are off by environment."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
