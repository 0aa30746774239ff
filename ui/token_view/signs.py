"""Text and numbers as a person can see them: signs in place of characters that show nothing or reorder what follows.

Knows nothing of HTML: what comes out is still hostile text, to be set as text only.
"""

import math
import unicodedata

END, PART, LINE = "■", "◦", "↵"
# Joiners make emoji and Persian words, marks of direction belong to Arabic and Hebrew: shown as they are, within text.
_KEPT = {"\u200c", "\u200d", "\u200e", "\u200f", "\u061c", "\u00ad", "\t", "\n"}
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls (overrides of direction too), lone surrogates, separators


def in_flow(text: str) -> str:
    """A token in its place in the answer; a line break shows its sign and breaks the line."""
    if text and all(unicodedata.category(c) in _UNSEEN for c in text.replace("\n", "").replace("\t", "")):
        shown = "".join(c if c in "\n\t" else _code(c) for c in text)
    else:
        shown = "".join(_code(c) if unicodedata.category(c) in _UNSEEN and c not in _KEPT else c for c in text)
    return shown.replace("\n", f"{LINE}\n")


def alone(text: str) -> str:
    """A token by itself, on one line, with the blanks at its ends as signs; `∅` where it is empty."""
    shown = in_flow(text).replace(f"{LINE}\n", LINE).replace("\t", "⇥")
    start, end = len(shown) - len(shown.lstrip(" ")), len(shown.rstrip(" "))
    return "␣" * start + shown[start:end] + "␣" * (len(shown) - max(start, end)) or "∅"


def probability(logprob: float) -> str:
    """A probability from its logarithm, to three places."""
    value = min(math.exp(logprob), 1.0)
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def signed(value: float) -> str:
    """A difference in nats, with its sign; none where it is rounded to nothing. Small ones have a digit more."""
    text = f"{value:+.{2 if abs(value) >= 0.01 else 3}f}".replace("-", "−")
    return text if text.strip("+−0.") else "0.00"


def nats(value: float) -> str:
    """A log-probability."""
    return "−∞" if value == -math.inf else f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _code(character: str) -> str:
    return f"⟨{ord(character):04X}⟩"
