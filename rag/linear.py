"""The products with weights that take most of a model's time, in the form that a CPU computes fastest.

Knows weights and activations, nothing of models.
"""

import platform
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

Linear = Callable[[Tensor], Tensor]  # float32 (..., in) -> (..., out)
# Outputs to an input from which on a packed weight is as fast with one row, and up to twice as fast with eight.
_WIDE = 4
_FULL, _SAFE = 127, 63  # levels of 8 bits, and of 7: without VNNI the CPU adds pairs of products in 16 bits
_REST = 254  # levels of what rounding left over, at most half a level on each side
# Activations are moved to where they have no sign: x86 multiplies unsigned by signed. For signed by signed, oneDNN 3.12
# on an AVX-512 CPU without AMX took its reference loop: 470 ms instead of 0.1 for (64, 576) by (576, 1536).
_ZERO = 128 if platform.machine().lower() in ("x86_64", "amd64") else 0


def float_linear(linear: nn.Linear) -> Linear:
    """A layer in its own precision; of float32 on a CPU, wide ones are packed into the layout that oneDNN likes."""
    weight = linear.weight.detach()
    bias = None if linear.bias is None else linear.bias.detach()
    wide = weight.shape[0] >= _WIDE * weight.shape[1]
    if not (wide and weight.device.type == "cpu" and weight.dtype == torch.float32 and _has_onednn()):
        return lambda rows: functional.linear(rows, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, 8)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda rows: multiply(rows, packed, bias, "none", [], "")


def int8_linear(linear: nn.Linear, fine: bool = False) -> Linear:
    """A layer in 8-bit integers, without a module's bookkeeping, which takes as long as a small product."""
    return Int8Linear(linear, _weight_levels(), fine).forward


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class Int8Linear(nn.Module):
    """A linear layer in int8, quantised as in ZeroQuant (Yao et al. 2022): weights by output, activations by token.

    With a scale for each token, not one for the whole batch, no row coarsens the others of its batch. `fine` gives
    activations 15 bits, as two rows of 8: what the first row's rounding left over is the second. With few rows, where
    the weights' way from memory takes the time, that costs nearly nothing.
    """

    def __init__(self, linear: nn.Linear, weight_levels: int = _SAFE, fine: bool = False) -> None:
        """Take over the weights (out, in) and the bias of a layer; `weight_levels` on each side of 0."""
        super().__init__()
        weight = linear.weight.detach()
        self.scale = weight.abs().amax(dim=1).clamp_(min=1e-12) / weight_levels
        levels = (weight / self.scale[:, None]).round_().to(torch.int8)
        self.packed = _has_onednn()
        self.weight = torch.ops.onednn.qlinear_prepack(levels, None) if self.packed else levels.t()
        self.zeros = torch.zeros(len(levels), dtype=torch.int)
        self.bias = linear.bias
        self.fine = fine

    def forward(self, activations: Tensor) -> Tensor:
        """(..., in) -> (..., out), both float32."""
        rows = activations.flatten(0, -2)
        scale = rows.abs().amax(-1, keepdim=True).div_(127).clamp_(min=1e-12)
        exact = rows / scale
        levels = exact.round()
        if self.fine:
            rest = exact.sub_(levels).mul_(_REST).round_()
            coarse, rest = self._product(torch.cat([levels, rest])).chunk(2)
            product = coarse.add_(rest, alpha=1 / _REST)
        else:
            product = self._product(levels)
        product.mul_(scale)
        if self.bias is not None:
            product += self.bias
        return product.view(*activations.shape[:-1], -1)

    def _product(self, levels: Tensor) -> Tensor:
        """Whole numbers (n, in) times the weights and their scales, float32 (n, out)."""
        # Laid out anew: of a single row with an odd stride the product would be nonsense (pytorch issue 195066).
        if not self.packed:
            levels = levels.to(torch.int8, memory_format=torch.contiguous_format)
            return torch._int_mm(levels, self.weight).float().mul_(self.scale)
        levels = (levels + _ZERO).to(torch.uint8 if _ZERO else torch.int8, memory_format=torch.contiguous_format)
        scaled: Tensor = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, _ZERO, self.weight, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return scaled


@cache
def _weight_levels() -> int:
    """127 where this CPU adds products of 8 bits without overflow, as it does with VNNI; asked of the CPU itself."""
    ones = nn.Linear(64, 2, bias=False)
    nn.init.constant_(ones.weight, 1.0)
    given = torch.ones(2, 64)
    with torch.inference_mode():
        exact = torch.allclose(Int8Linear(ones, _FULL)(given), ones(given), rtol=1e-3)
    return _FULL if exact else _SAFE


def quantise(model: nn.Module, fine: bool = False) -> float:
    """Replace every linear layer by its int8 form, in place; their share of all weights but the embeddings.

    GPT-2 for one keeps most of its weights in another kind of layer, and would gain nothing.
    """
    done = left = 0
    for name, module in list(model.named_modules()):
        weights = sum(p.numel() for p in module.parameters(recurse=False) if p.dim() > 1)
        # A subclass means something that this would lose; with a side of 1 `_int_mm` is wrong on some CPUs.
        if type(module) is nn.Linear and min(module.weight.shape) > 1:
            done += weights
            model.set_submodule(name, Int8Linear(module, _weight_levels() if fine else _SAFE, fine))
        elif not isinstance(module, nn.Embedding):
            left += weights
    return done / max(done + left, 1)
