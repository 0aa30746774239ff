"""`rag eval compare` and `rag eval report`: what saved runs say. No model is loaded."""

from typing import Any

from rag.settings import Settings
from ui.output import Options, out, print_json
from ui.terminal import printable

_SHOWN = 10  # wins and losses on the terminal; --json has all
_FEW = 30
_LONGEST = 200


def compare_runs(settings: Settings, options: Options) -> int:
    """`rag eval compare RUN_A RUN_B`: differences with their intervals, and the questions behind them."""
    from rag.evaluation.compare import compare
    from rag.evaluation.saved import read_run

    result = compare(read_run(options.run_a), read_run(options.run_b))
    if options.json:
        print_json(result)
        return 0
    _print(f"A is {options.run_a}, B is {options.run_b}: {result['questions']} questions that both answered")
    _print(f"the same answer in both: {result['same_answer']}")
    reasons = {"only_in_a": "only in A", "only_in_b": "only in B", "errors": "with an error"}
    left_out = [f"{number} {reasons[why]}" for why, number in result["left_out"].items() if number]
    if left_out:
        _print(f"left out: {', '.join(left_out)}")
    _print(f"\n{'':22}{'A':>9}{'B':>9}{'B - A':>9}   95 % interval")
    for name, metric in result["metrics"].items():
        _print_metric(name, metric)
    if result["questions"] < _FEW:
        _print(f"Fewer than {_FEW} questions: the intervals are too narrow; read the answers instead.")
    _print("\nMade with" if result["manifest_differences"] else "\nBoth were made with the same settings.")
    for name, values in result["manifest_differences"].items():
        _print(f"  {name}: {_short(values['a'])} -> {_short(values['b'])}")
    _print_questions("B is better at", result["wins"])
    _print_questions("A is better at", result["losses"])
    return 0


def report_run(settings: Settings, options: Options) -> int:
    """`rag eval report RUN`: one HTML page."""
    from rag.evaluation.report import report
    from rag.evaluation.saved import read_run
    from ui.report import report_page

    file = options.out or options.folder / "report.html"
    file.write_text(report_page(report(read_run(options.folder))), encoding="utf-8")
    _print(str(file))
    return 0


def _print_metric(name: str, metric: dict[str, Any]) -> None:
    low, high = metric["interval"]
    verdict = "excludes 0" if metric["excludes_zero"] else ""
    _print(
        f"{name:22}{metric['a']:9.3f}{metric['b']:9.3f}{metric['difference']:+9.3f}   {low:+.3f} to {high:+.3f}"
        f"   n {metric['questions']}   {verdict}".rstrip()
    )


def _print_questions(title: str, judged: list[dict[str, Any]]) -> None:
    _print(f"\n{title} {len(judged)} questions{', by F1 or refusal, the biggest difference first' if judged else ''}")
    for row in judged[:_SHOWN]:
        accepted = " | ".join(row["answers"]) if row["answerable"] else "a refusal: there is no answer"
        _print(f"  {_short(row['id'])}  {_short(row['question'])}  ({row['difference']:+.2f})")
        _print(f"    accepted: {_short(accepted)}")
        for side in "ab":
            declined = row[side]["abstained"]
            note = "" if declined is None else f" (declined: {_short(declined)})"
            _print(f"    {side.upper()}: {_short(row[side]['answer'])}{note}")
    if len(judged) > _SHOWN:
        _print(f"  and {len(judged) - _SHOWN} more; --json has all")


def _short(value: object) -> str:
    """A value on one line, as much of it as can be read."""
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _print(text: str) -> None:
    out.print(printable(text), markup=False)
