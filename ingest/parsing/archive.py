"""Zip archives from anywhere: what they declare is checked before anything is unpacked. Archives inside stay closed."""

import io
import lzma
import struct
import zlib
from typing import IO
from zipfile import BadZipFile, ZipFile

from rag.errors import ParseError

MAX_ENTRIES = 20_000
MAX_UNPACKED = 2_000_000_000  # bytes, of all entries; what is not text, such as pictures, is never unpacked
MAX_ENTRY = 64_000_000  # bytes of one entry that is read at once
_BOMB_RATIO, _BOMB_SIZE = 200, 30_000_000  # deflate reaches 1000 on nothing but zeros, real XML some 50
# What zipfile and its decompressors raise for damaged bytes; RuntimeError stands for an entry with a password.
_DAMAGED = (BadZipFile, EOFError, OSError, ValueError, NotImplementedError, struct.error, zlib.error, lzma.LZMAError)


def open_archive(content: bytes) -> ZipFile:
    """Raises `ParseError` for a damaged or locked archive and for one that would unpack to far more than it is."""
    if content.count(b"PK\x01\x02") > MAX_ENTRIES:
        raise ParseError(f"it is a zip archive of more than {MAX_ENTRIES} entries")
    try:
        archive = ZipFile(io.BytesIO(content))
    except (*_DAMAGED, RuntimeError) as error:
        raise ParseError("it is damaged or cut off") from error
    entries = archive.infolist()
    if any(entry.flag_bits & 1 for entry in entries):
        raise ParseError("it is locked with a password")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED or any(
        entry.file_size > _BOMB_SIZE and entry.file_size > _BOMB_RATIO * entry.compress_size for entry in entries
    ):
        raise ParseError("it unpacks to far more than its size, as a zip bomb does")
    return archive


def read_entry(archive: ZipFile, name: str, limit: int = MAX_ENTRY) -> bytes:
    """An entry's bytes. Raises `ParseError` where it is missing, damaged or larger than the limit.

    An entry never yields more than it declares: zipfile stops there.
    """
    with open_entry(archive, name) as entry:
        if archive.getinfo(name).file_size > limit:
            raise ParseError(f"a part of it unpacks to more than {limit // 1_000_000} MB")
        try:
            return entry.read()
        except _DAMAGED as error:
            raise ParseError("it is damaged or cut off") from error


def open_entry(archive: ZipFile, name: str) -> IO[bytes]:
    """An entry to read piece by piece; reading may raise what `READ_ERRORS` lists."""
    try:
        return archive.open(name)
    except KeyError as error:
        raise ParseError("it is damaged: a part is missing") from error
    except (*_DAMAGED, RuntimeError) as error:
        raise ParseError("it is damaged or cut off") from error


READ_ERRORS = _DAMAGED
