"""Where a step's time goes, and how much of the memory's bandwidth it reaches."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity

from rag.kv_cache import KVCache
from rag.language_model import LanguageModel

STEPS = 30
PRODUCTS = ("addmm", "aten::mm", "linear_pointwise", "qlinear", "matmul", "mkldnn_linear")
ATTENTION = ("scaled_dot_product", "flash_attention", "aten::bmm", "aten::baddbmm")


def profile(name: str, model: LanguageModel, prompt: list[int]) -> None:
    """Print the parts of a decoding step; what the profiler itself costs is taken from what is neither."""
    cache = model.new_cache()
    model.read([prompt], cache)
    step = timed_step(model, cache)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(STEPS):
            model.read([[1]], cache)
    parts = {"products": 0.0, "attention": 0.0, "other operations": 0.0}
    for event in found.key_averages():
        kind = "products" if any(p in event.key for p in PRODUCTS) else "other operations"
        kind = "attention" if any(p in event.key for p in ATTENTION) else kind
        parts[kind] += event.self_cpu_time_total / 1e6 / STEPS
    shares = ", ".join(f"{kind} {1000 * seconds:.1f} ms" for kind, seconds in parts.items())
    rest = 1000 * (step - sum(parts.values()))
    print(f"{name}: a step after {len(prompt)} tokens takes {1000 * step:.1f} ms: {shares}, Python {rest:.1f} ms")
    slowest = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)[:8]
    print("  " + ", ".join(f"{e.key} {e.self_cpu_time_total / 1e3 / STEPS:.2f} x{e.count // STEPS}" for e in slowest))


def timed_step(model: LanguageModel, cache: KVCache) -> float:
    return median_seconds(lambda: model.read([[1]], cache))


def median_seconds(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def bandwidth(model: LanguageModel, weights: int, prompt: list[int]) -> None:
    """Print the bytes that a step has to read, by its time, beside a copy and a sum of a gigabyte.

    `weights` is their size in bytes; the keys and values of a token come on top.
    """
    cache = model.new_cache()
    model.read([prompt], cache)
    step = timed_step(model, cache)
    block = torch.ones(2**28)
    target = torch.empty_like(block)
    copied = 2 * block.nbytes / median_seconds(lambda: target.copy_(block))
    summed = block.nbytes / median_seconds(lambda: block.sum())
    reached = (weights + cache.nbytes) / step
    print(
        f"a step reads {weights / 1e6:.0f} MB of weights and {cache.nbytes / 1e6:.0f} MB of keys and values in "
        f"{1000 * step:.1f} ms: {reached / 1e9:.1f} GB/s; a copy of 1 GB moves {copied / 1e9:.1f} GB/s "
        f"({reached / copied:.0%}), a sum reads {summed / 1e9:.1f} GB/s ({reached / summed:.0%})"
    )
