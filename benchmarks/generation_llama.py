"""Our int8 against a llama.cpp server: the same prompts, in turns, the server's own timings.

The bundled file is Q4_1 but for its embeddings; Q8_0 is made from it, so that all three hold the same weights.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gguf

from benchmarks.generation_cases import Case, Run, in_turns, run, spread
from rag.generation import LocalGenerator
from rag.models import bundled_file

NAMES = ("ours, int8", "ours, int8 with drafts", "llama.cpp Q8_0", "llama.cpp Q4_1")


class Server:
    """A process that answers prompts one after the other."""

    def __init__(self, python: Path, weights: Path) -> None:
        script = Path(__file__).with_name("generation_peers.py")
        self._process = subprocess.Popen(
            [str(python), str(script), str(weights)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version, self.system = self._read()

    def run(self, case: Case) -> Run:
        """The answer's tokens stay there; only their number counts."""
        assert self._process.stdin
        length = case.params.max_new_tokens
        self._process.stdin.write(json.dumps([case.prompt, length]) + "\n")
        self._process.stdin.flush()
        prompt_ms, predicted_ms = self._read()
        return Run(prompt_ms / 1000, predicted_ms / 1000, [[0] * length])

    def close(self) -> None:
        self._process.communicate()

    def _read(self):  # type: ignore[no-untyped-def]
        assert self._process.stdout
        while not (line := self._process.stdout.readline()).startswith("["):
            assert line, "the server ended"
        return json.loads(line)


def write_q8_0(source: Path, target: Path) -> None:
    """The same model with every matrix in Q8_0."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if len(tensor.shape) > 1:
            kind = gguf.GGMLQuantizationType.Q8_0
            data = gguf.quants.quantize(gguf.quants.dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(
    python: Path,
    rounds: int,
    questions: Sequence[Case],
    copies: Sequence[Case],
    plain: LocalGenerator,
    drafting: LocalGenerator,
) -> None:
    """Print tokens a second of all four, on answers to questions and on answers that copy."""
    with tempfile.TemporaryDirectory() as folder:
        source, q8_0 = bundled_file("language model"), Path(folder) / "q8_0.gguf"
        write_q8_0(source, q8_0)
        servers = [Server(python, weights) for weights in (q8_0, source)]
        calls = [partial(run, plain), partial(run, drafting), *(server.run for server in servers)]
        print(f"\nllama.cpp of xllamacpp {servers[0].version}, {servers[0].system}")
        for what, cases in (("questions", questions), ("answers that copy", copies)):
            print(f"\n| {what} | prefill, tokens/s | decode, tokens/s |\n|---|---|---|")
            tokens = sum(len(case.prompt) for case in cases)
            for name, runs in zip(NAMES, in_turns(rounds, cases, calls), strict=True):
                # The server counts the first token's drawing with the rest, so its rate is of all tokens.
                decoded = [(r.decoded if name.startswith("ours") else r.decoded + len(cases)) / r.rest for r in runs]
                print(f"| {name} | {spread([tokens / r.first for r in runs], 0)} | {spread(decoded, 1)} |", flush=True)
        for server in servers:
            server.close()
