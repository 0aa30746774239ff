"""A llama.cpp server for `benchmarks.generation`. Runs in an environment of its own, without Openbook.

Prompts come in a JSON line each, `[token ids, new tokens]`, and the server's own timings go out.
"""

import json
import sys

import xllamacpp


def main():
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.verbosity = 2048, 1, 0, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.cache_prompt, params.cache_ram_mib = False, 0
    server = xllamacpp.Server(params)
    print(json.dumps([xllamacpp.__version__, xllamacpp.get_system_info()]), flush=True)
    for line in sys.stdin:
        ids, length = json.loads(line)
        request = {"prompt": ids, "n_predict": length, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        timings = server.handle_completions(request)["timings"]
        assert timings["prompt_n"] == len(ids), "not the whole prompt was read"
        print(json.dumps([timings["prompt_ms"], timings["predicted_ms"]]), flush=True)


if __name__ == "__main__":
    main()
