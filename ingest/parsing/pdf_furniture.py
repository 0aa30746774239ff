"""Which lines of a PDF's pages are running heads, feet and page numbers: at an edge, on most pages, always the same."""

import itertools
import re
from collections import Counter

_EDGE = 3  # lines at the top and at the bottom of a page that are looked at
_MIN_PAGES = 3
_SHARE = 0.45  # of the pages: heads of left and right pages differ
_MAX_NUMBERS = 3
_WORD = re.compile(r"[^\W\d_]+")
_PAGE_WORDS = {"page", "p", "pg", "seite", "página", "pág", "pagina", "sida", "side", "strona", "стр", "страница"}
_PAGE_WORDS |= {"页", "頁", "ページ", "쪽", "第", "of", "von", "de", "di", "sur"}
_NUMBER = re.compile(r"\d{1,9}")
_Key = tuple[str, ...]


def running_lines(pages: list[list[str]]) -> list[set[int]]:
    """For each page the indices of the lines to leave out.

    A number in such a line is the same on all pages or counts them. A line with words stays where it comes first,
    since it may say what nothing else says, such as an address.
    """
    running: list[set[int]] = [set() for _ in pages]
    if len(pages) < _MIN_PAGES:
        return running
    edges = [_edges(lines) for lines in pages]
    keys = [{i: _keys(lines[i], n) for i in edges[n]} for n, lines in enumerate(pages)]
    counts = Counter(key for page in keys for key in set(itertools.chain.from_iterable(page.values())))
    least = max(_MIN_PAGES, _SHARE * len(pages))
    seen: set[_Key] = set()
    for n, page in enumerate(keys):
        for i, forms in page.items():
            common = max(forms, key=lambda key: counts[key])
            if counts[common] < least:
                continue
            counts_up = any(part.startswith("+") for part in common[1:])
            if _is_page_number(pages[n][i], common, n) if counts_up else common in seen:
                running[n].add(i)
            seen.add(common)
    return running


def _is_page_number(line: str, key: _Key, page: int) -> bool:
    """Whether a line that counts up with the pages counts them; `Question 3` at the head of each page does not."""
    counting = [str(page + int(part[1:])) for part in key[1:] if part.startswith("+")]
    words = _WORD.findall(line.lower())
    if not words or _PAGE_WORDS & set(words):
        return True
    return len(words) > 1 and any(line.strip().startswith(n) or line.strip().endswith(n) for n in counting)


def _edges(lines: list[str]) -> list[int]:
    filled = [i for i, line in enumerate(lines) if line.strip()]
    return sorted({*filled[:_EDGE], *filled[-_EDGE:]})


def _keys(line: str, page: int) -> list[_Key]:
    """What the line would be equal by: each number as it is, or as its distance from the number of the page."""
    words = "#".join(" ".join(_NUMBER.sub("\n", line).split(" ")).split("\n"))
    numbers = [int(number) for number in _NUMBER.findall(line)]
    if len(numbers) > _MAX_NUMBERS:
        return [(line,)]
    forms = itertools.product(*((f"={number}", f"+{number - page}") for number in numbers))
    return [(words, *form) for form in forms]
