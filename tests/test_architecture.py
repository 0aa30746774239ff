"""Who may import whom, read from the source; and what the light commands must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run_rows import row, save

ROOT = Path(__file__).parents[1]
FILES = sorted(p for package in ("rag", "ingest", "ui") for p in (ROOT / package).rglob("*.py"))
OWNERS = {
    "faiss": {"rag/index/vectors.py"},
    "tantivy": {"rag/index/lexical.py"},
    "sqlite3": {"rag/index/database.py", "ui/store.py"},
    "pydantic": {"ui/told.py"},
    "sentence_transformers": {"rag/embedding.py", "rag/reranking.py"},
    "rapidfuzz": {"rag/near_copies.py"},
    "ir_measures": {"rag/evaluation/retrieval.py"},
    "sacrebleu": {"rag/evaluation/metrics.py"},
    "sklearn": {"rag/evaluation/calibration.py", "rag/evaluation/reliability.py"},
    "transformers": {"rag/language_model.py", "rag/tokenizer.py"},
    "peft": {"rag/trainer.py"},
    "safetensors": {"rag/trainer.py"},
    "torch": {
        *(f"rag/{name}.py" for name in ("beams", "generation", "kv_cache", "sampling", "scoring", "writing")),
        *(f"rag/{name}.py" for name in ("embedding", "finetuning", "language_model", "linear", "llama", "trainer")),
        "rag/training_trees.py",
    },
    "pypdfium2": {f"ingest/parsing/{name}.py" for name in ("pdf", "pdf_hidden", "pdf_page")},
    "lxml": {
        f"ingest/parsing/{name}.py"
        for name in "html html_walk html_style office word word_styles slides sheets cells epub".split()  # noqa: SIM905
    },
    "charset_normalizer": {"ingest/parsing/text.py"},
    # They only make files for tests: what is read is read from the XML itself.
    "docx": set(),
    "pptx": set(),
    "openpyxl": set(),
    "semantic_text_splitter": {"ingest/chunking.py"},
}
SEES_ALL_STAGES = {
    "rag/assistant.py",
    "rag/__init__.py",
    *(f"rag/evaluation/{name}.py" for name in ("asking", "calibration", "collection", "labelling")),
    *(f"rag/evaluation/{name}.py" for name in ("retrieval", "run", "sweep")),
}
INDEX = [path.relative_to(ROOT).as_posix() for path in (ROOT / "rag/index").glob("*.py")]
# What a stage may use besides schema and errors.
STAGES = {
    "rag/embedding.py": {"rag.linear"},
    "rag/llama.py": {"rag.kv_cache", "rag.linear"},
    "rag/language_model.py": {"rag.kv_cache", "rag.linear", "rag.llama", "rag.tokenizer"},
    "rag/scoring.py": {"rag.kv_cache", "rag.language_model"},
    "rag/beams.py": {"rag.kv_cache", "rag.language_model"},
    "rag/writing.py": {"rag.sampling", "rag.stopping", "rag.language_model"},
    "rag/generation.py": {
        f"rag.{name}" for name in ("beams", "drafting", "kv_cache", "language_model", "scoring", "stopping", "writing")
    },
    "rag/prompting.py": {"rag.stopping", "rag.templates"},
    "rag/contrast.py": {
        f"rag.{name}" for name in ("evidence", "generation", "prompting", "scoring", "stopping", "templates")
    },
    "rag/attribution.py": {f"rag.{name}" for name in ("contrast", "evidence", "generation", "stopping", "templates")},
    "rag/confidence.py": {f"rag.{name}" for name in ("stopping", "templates", "wording")},
    "rag/reasons.py": {f"rag.{name}" for name in ("evidence", "stopping", "wording")},
    "rag/rereading.py": {f"rag.{name}" for name in ("contrast", "generation", "templates")},
    "rag/judging.py": {f"rag.{name}" for name in ("confidence", "contrast", "generation", "reasons", "templates")},
    "rag/models.py": {"rag.wording"},
    "rag/template_files.py": {"rag.templates"},
    "rag/reranking.py": {"rag.retrieval"},
    "rag/retrieval.py": {"rag.index", "rag.near_copies"},
    "rag/training_data.py": {"rag.stopping"},
    "rag/training_trees.py": {
        f"rag.{name}" for name in ("kv_cache", "prompting", "templates", "tokenizer", "training_data")
    },
    "rag/trainer.py": {"rag.language_model", "rag.training_trees"},
    "rag/finetuning.py": {
        f"rag.{name}"
        for name in ("adapter", "models", "templates", "tokenizer", "trainer", "training_data", "training_trees")
    },
    "rag/adapter.py": {"rag.models", "rag.trainer"},
    **{name: {"rag.index"} for name in INDEX},
}


def imports(path):
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (
                f"{node.module}.{alias.name}" if node.module in ("rag", "ingest", "ui") else node.module
                for alias in node.names
            )


def name(path):
    return path.relative_to(ROOT).as_posix()


def within(module, allowed):
    return any(module == a or module.startswith(f"{a}.") for a in allowed)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_packages_import_downwards_only(path):
    package = name(path).split("/")[0]
    forbidden = {"rag": ("ingest", "ui"), "ingest": ("ui",), "ui": ()}[package]
    assert not [m for m in imports(path) if m.split(".")[0] in forbidden]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_each_library_has_its_owner(path):
    libraries = {m.split(".")[0] for m in imports(path)}
    assert not [lib for lib, owners in OWNERS.items() if lib in libraries and name(path) not in owners]
    assert "streamlit" not in libraries or name(path).startswith("ui/")


@pytest.mark.parametrize("path", [p for p in FILES if name(p).startswith("ingest/")], ids=name)
def test_ingest_knows_no_question(path):
    allowed = [f"rag.{m}" for m in ("schema", "errors", "settings", "models", "embedding", "index")]
    assert not [m for m in imports(path) if m.startswith("rag") and not within(m, allowed)]


@pytest.mark.parametrize("path", [p for p in FILES if name(p).startswith("rag/")], ids=name)
def test_stages_know_only_types_and_errors(path):
    if name(path) in SEES_ALL_STAGES:
        return
    own = ["rag.evaluation"] if "evaluation" in name(path) else []
    allowed = ["rag.schema", "rag.errors", *own, *STAGES.get(name(path), ())]
    assert not [m for m in imports(path) if m.startswith("rag") and not within(m, allowed)]
    assert "rag.settings" not in set(imports(path))


def test_the_rules_can_fail(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from ui.cli import main\n    import faiss.contrib\n    from rag import settings\n")
    assert set(imports(file)) == {"ui.cli", "faiss.contrib", "rag.settings"}


HEAVY = "import sys; heavy = {'torch', 'transformers', 'sentence_transformers', 'peft', 'streamlit'} & set(sys.modules)"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_help_loads_nothing_heavy():
    done = run(
        f"from ui.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n{HEAVY}; sys.exit(repr(heavy))"
    )
    assert done.stderr.strip() == "set()"


def test_a_sync_with_nothing_to_do_loads_nothing_heavy(home):
    arguments = ["ingest", str(ROOT / "examples/documents"), "--home", str(home), "--collection", "examples", "--quiet"]
    done = run(f"from ui.cli import main\nassert main({arguments!r}) == 0\n{HEAVY}; sys.exit(repr(heavy))")
    assert done.stderr.strip() == "set()"
    assert "11 unchanged" in done.stdout


def test_a_search_by_words_loads_nothing_heavy(home):
    arguments = ["search", "oak", "--home", str(home), "--collection", "examples", "--mode", "lexical"]
    done = run(f"from ui.cli import main\nassert main({arguments!r}) == 0\n{HEAVY}; sys.exit(repr(heavy))")
    assert done.stderr.strip() == "set()"
    assert "BM25" in done.stdout


def test_reading_saved_runs_loads_nothing_heavy(tmp_path):
    folder = str(save(tmp_path / "run", [row(0, 0.0)]))
    commands = [["eval", "compare", folder, folder], ["eval", "report", folder]]
    done = run(f"from ui.cli import main\nassert not any(map(main, {commands!r}))\n{HEAVY}; sys.exit(repr(heavy))")
    assert done.stderr.strip() == "set()"
