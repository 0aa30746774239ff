"""Files as nobody should have made them: each is read or says in one short clause why it is not, and fast."""

import contextlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parsing import parse
from rag.errors import ParseError
from tests.bad_files import BAD_FILES, LIMITED, REASONS, WHOLE

SECONDS = 10  # of processor time; they take less than two, on a machine that does nothing else


@pytest.mark.parametrize("name", sorted(BAD_FILES.keys() - LIMITED))
def test_a_bad_file_says_what_is_wrong(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD_FILES[name]())
    began = time.process_time()
    if REASONS[name] is None:
        assert parse(path).text.strip()
    else:
        with pytest.raises(ParseError) as caught:
            parse(path)
        reason = str(caught.value)
        assert re.search(REASONS[name], reason)
        assert len(reason) < 120
        assert "\n" not in reason
    assert time.process_time() - began < SECONDS


def test_every_bad_file_has_its_reason():
    assert BAD_FILES.keys() == REASONS.keys()
    assert BAD_FILES.keys() >= LIMITED


@pytest.mark.parametrize("suffix", sorted(WHOLE))
@given(data=st.data())
@settings(max_examples=40)
def test_damage_is_a_reason_never_a_crash(tmp_path_factory, suffix, data):
    content = bytearray(WHOLE[suffix]())
    places = st.integers(0, len(content) - 1)
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        content[at] = value
    path = tmp_path_factory.mktemp("damage") / f"a{suffix}"
    path.write_bytes(bytes(content[: data.draw(places) + 1] if data.draw(st.booleans()) else content))
    with contextlib.suppress(ParseError):
        assert parse(path).text.strip()
