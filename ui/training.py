"""`rag finetune`: an adapter from questions and their passages."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import InputError
from rag.settings import Settings
from ui.output import Options, counted, out, print_json, status

if TYPE_CHECKING:
    from rag.training_data import Row

_HELD_OUT = 0.1  # of the rows, where no --dev is given
_VALIDATED = 300  # rows at most, so that a validation takes a minute on a CPU


def finetune(settings: Settings, options: Options) -> int:
    """`rag finetune DATA... --out ADAPTER`: train, and say how well the rows held out are answered."""
    from rag.adapter import BUNDLED, rank_of
    from rag.assistant import load_embedder, prefers_chat
    from rag.embedding import choose_device
    from rag.finetuning import finetune as train
    from rag.finetuning import merit
    from rag.language_model import convert_gguf
    from rag.models import resolve_language_model
    from rag.templates import choose_template
    from rag.tokenizer import Tokenizer
    from rag.trainer import Training
    from rag.training_data import Packs, read_rows

    files = sorted(options.data, key=lambda file: file.name)
    if len({file.name for file in files}) < len(files):
        raise InputError("Two of the files have the same name, by which the record tells them apart; rename one.")
    rows = [row for file in files for row in read_rows(file)]
    dev = [options.dev] if options.dev else []
    learnt, held_out = (rows, _some(read_rows(options.dev), _VALIDATED)) if options.dev else _split(rows)
    start = BUNDLED if options.start == Path("auto") else options.start
    rank = rank_of(start) if start and options.rank is None else options.rank
    wanted = {"steps": options.steps, "rank": rank, "learning_rate": options.learning_rate}
    training = Training(
        **{name: value for name, value in wanted.items() if value is not None},
        seed=settings.seed or 0,
        compiled=options.compile,
    )
    with status(options, "loading the models"):
        folder = resolve_language_model(settings.language_model, settings.models_dir, convert_gguf)
        chat, frame = prefers_chat(settings.language_model), Tokenizer(folder).chat_frame()
        template = choose_template("chat" if chat and frame else "plain", frame)
        embedder = load_embedder(settings)
    with status(options, "looking for distractors"):
        packs = Packs(learnt, embedder.embed_passages, training.seed)
    with counted(options) as advance:
        record = train(
            folder,
            choose_device(settings.device),
            template,
            packs,
            held_out,
            options.out,
            training,
            {"learnt": _sums(files), "held out": _sums(dev)},
            lambda done, total, figures: advance(done, total, _said(figures)),
            start,
        )
    best = max(reversed(record["validations"]), key=merit)  # of equals the last is kept
    if options.json:
        print_json({"adapter": str(options.out), "best": best, "validations": record["validations"]})
        return 0
    for name, value in best.items():
        out.print(f"{name:22} {value:g}")
    out.print(f"Use it with: rag ask --adapter {options.out} ...", markup=False)
    return 0


def _sums(files: list[Path]) -> dict[str, str]:
    from rag.models import sha256_of

    return {file.name: sha256_of(file) for file in files}


def _split(rows: "list[Row]") -> "tuple[list[Row], list[Row]]":
    """Rows to learn from, and rows of other passages to choose by."""
    held_out = _some(rows, min(_VALIDATED, round(_HELD_OUT * len(rows))))
    passages = {row.passage for row in held_out}
    learnt = [row for row in rows if row.passage not in passages]
    if not learnt or not held_out:
        raise InputError(f"{len(rows)} rows are too few to hold some out; give others with --dev.")
    return learnt, held_out


def _some(rows: "list[Row]", n: int) -> "list[Row]":
    """All rows of as many passages, drawn by chance, as hold at least n."""
    passages = list(dict.fromkeys(row.passage for row in rows))
    random.Random(0).shuffle(passages)  # noqa: S311 - not for secrets
    kept: list[Row] = []
    while len(kept) < n and passages:
        passage = passages.pop()
        kept += [row for row in rows if row.passage == passage]
    return kept


def _said(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if name in ("loss", "right"))
