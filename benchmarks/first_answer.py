"""What a new user waits for and pays: disk, memory, a cold `rag ask`, a warm answer. Figures of the README.

python -m benchmarks.first_answer
"""

import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from rag import load_assistant
from rag.evaluation.datasets import read_questions
from rag.settings import default_home, load_settings

EXAMPLES = Path(__file__).parents[1] / "examples"
QUESTIONS = 12
COLD_RUNS = 3


def folder_mb(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink()) / 1e6


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):6.2f}   ({min(values):.2f} to {max(values):.2f}, n={len(values)})"


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(default_home() / "models")
        place = ["--home", folder, "--collection", "examples", "--quiet"]
        rag = [sys.executable, "-m", "ui.cli"]

        began = time.perf_counter()
        subprocess.run([*rag, "ingest", str(EXAMPLES / "documents"), *place], check=True, capture_output=True)
        ingest = time.perf_counter() - began

        cold = []
        asked = read_questions(EXAMPLES / "questions.jsonl").questions
        questions = [q.question for q in asked if q.answerable][:QUESTIONS]
        for question in questions[:COLD_RUNS]:
            began = time.perf_counter()
            subprocess.run([*rag, "ask", question, *place], check=True, capture_output=True)
            cold.append(time.perf_counter() - began)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6

        assistant = load_assistant(load_settings({"home": folder, "collection": "examples"}))
        assistant.ask(questions[0])
        timings, judged, supported = [], [], []
        for question in questions:
            began = time.perf_counter()
            answer = assistant.ask(question)
            judged.append(time.perf_counter() - began - answer.timings.total)
            began = time.perf_counter()
            if assistant.support(answer):
                supported.append(time.perf_counter() - began)
            timings.append(answer.timings)

    print(f"environment on disk, MB          {folder_mb(Path(sysconfig.get_paths()['purelib'])):8.0f}")
    print(f"prepared language model, MB      {folder_mb(default_home() / 'models'):8.0f}")
    print(f"ingest of the examples, s        {ingest:6.2f}")
    print(f"cold `rag ask`, whole command, s {spread(cold)}")
    print(f"peak memory of these, GB         {peak:6.2f}")
    print(f"warm, question to first token, s {spread([t.first_token or 0 for t in timings])}")
    print(f"warm, question to the end, s     {spread([t.total for t in timings])}")
    print(f"then to lift and confidence, s   {spread(judged)}")
    print(f"then to the supporting sentence  {spread(supported)}")


if __name__ == "__main__":
    run()
