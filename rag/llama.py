"""The forward pass of models of Llama's shape (Llama, SmolLM2, Mistral, Qwen2), for few rows and few tokens at a time.

What transformers computes, with less around it: one product for queries, keys and values, one for gate and up, no key
or value copied to serve several heads. Knows tensors; tokens and text are for `language_model`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rag.kv_cache import KVCache, Reading
from rag.linear import Linear

MakeLinear = Callable[[nn.Linear, bool], Linear]  # the layer, and whether its inputs need more than 8 bits
_KINDS = frozenset(["llama", "mistral", "qwen2"])
_FEW = 16  # new tokens up to which the heads that share a key are treated as more tokens of one head


def fits(config: Any) -> bool:
    """Whether a model of this configuration is of the shape."""
    full = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    sliding = getattr(config, "sliding_window", None) is not None and config.model_type == "mistral"
    return config.model_type in _KINDS and config.hidden_act == "silu" and full and not sliding


class LlamaForward:
    """A loaded transformers model of the shape, as a function from token ids to logits."""

    def __init__(self, model: Any, linear: MakeLinear) -> None:
        """Take the weights out of the model, which is of no use afterwards, and join what is computed together.

        `linear` makes a layer's product, in float or in int8.
        """
        config = model.config
        self._embedding = model.model.embed_tokens.weight.detach()
        self._rotary = model.model.rotary_emb
        self._layers = [_Layer(layer, linear) for layer in model.model.layers]
        self._norm = model.model.norm.weight.detach()
        self._head = linear(model.lm_head, True)
        self._eps = float(config.rms_norm_eps)
        self._heads, self._kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self._head_size = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)

    def __call__(self, ids: Tensor, cache: KVCache, at: Reading, keep: int) -> Tensor:
        """Token ids (rows, n), stored in the cache as they are read -> logits (rows, keep, V) after the last ones."""
        hidden = functional.embedding(ids, self._embedding)
        cos, sin = (part.unsqueeze(1) for part in self._rotary(hidden, at.positions))  # (rows, 1, n, head size)
        hidden = hidden.flatten(0, 1)
        for number, layer in enumerate(self._layers):
            projected = layer.qkv(self._normed(hidden, layer.norm))
            projected = projected.view(at.rows, at.n, self._heads + 2 * self._kv_heads, self._head_size).transpose(1, 2)
            turned, values = torch.split(projected, [self._heads + self._kv_heads, self._kv_heads], 1)
            queries, keys = torch.split(_rotate(turned, cos, sin), [self._heads, self._kv_heads], 1)
            seen = cache.write(number, keys, values, at)
            hidden = hidden + layer.out(self._attend(queries, *seen, at))
            gate, up = layer.gate_up(self._normed(hidden, layer.mlp_norm)).chunk(2, -1)
            hidden = hidden + layer.down(functional.silu(gate).mul_(up))
        return self._head(self._normed(hidden.view(at.rows, at.n, -1)[:, -keep:], self._norm))

    def _normed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(hidden, (hidden.shape[-1],), weight, self._eps)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, at: Reading) -> Tensor:
        """Queries (rows, heads, n, head size) over what was read -> (rows * n, heads * head size)."""
        shared = self._heads // self._kv_heads
        if at.n == 1 or at.n > _FEW or at.causal:
            mixed = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=at.mask, is_causal=at.causal, enable_gqa=shared > 1
            )
        else:
            grouped = queries.reshape(at.rows, self._kv_heads, shared * at.n, self._head_size)
            mask = None if at.mask is None else at.mask.repeat(1, 1, shared, 1)
            mixed = functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask)
            mixed = mixed.view(at.rows, self._heads, at.n, self._head_size)
        return mixed.transpose(1, 2).reshape(at.rows * at.n, self._heads * self._head_size)


class _Layer:
    """One layer's weights."""

    def __init__(self, layer: Any, linear: MakeLinear) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norm = layer.input_layernorm.weight.detach()
        self.qkv = linear(_joined(attention.q_proj, attention.k_proj, attention.v_proj), True)
        self.out = linear(attention.o_proj, False)  # a mean of values: no channel stands out
        self.mlp_norm = layer.post_attention_layernorm.weight.detach()
        self.gate_up = linear(_joined(mlp.gate_proj, mlp.up_proj), True)
        self.down = linear(mlp.down_proj, True)


def _joined(*parts: nn.Linear) -> nn.Linear:
    """Layers of the same input as one; the parts lose their weights, so that none is held twice."""
    outputs = sum(part.out_features for part in parts)
    whole = nn.Linear(parts[0].in_features, outputs, bias=parts[0].bias is not None, device="meta")
    for name in ("weight", "bias"):
        if getattr(whole, name) is not None:
            joined = torch.cat([getattr(part, name).detach() for part in parts])
            setattr(whole, name, nn.Parameter(joined, requires_grad=False))
            for part in parts:
                setattr(part, name, None)
    return whole


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): the halves of each head are turned by the angles of its position."""
    first, second = states.chunk(2, -1)
    return states * cos + torch.cat((-second, first), -1) * sin
