"""Collections as a whole: erased, carried, embedded again, migrated, checked, and large ones."""

import hashlib
import shutil
import sqlite3

import numpy as np
import pytest

from ingest.chunking import Chunker
from ingest.reembedding import embed_next
from rag.errors import CollectionError, LockedError, ModelError
from rag.index import LocalIndex, next_embedder, open_catalog, open_index, vectors
from rag.index.catalog import Catalog
from rag.index.checking import check
from rag.index.collections import delete, export, holdings, import_, summaries
from rag.index.database import FORMAT
from rag.models import bundled_file
from rag.schema import Filter
from tests.conftest import DIMENSION, IDENTITY, HashingEmbedder
from tests.test_index import TEXTS, found, reopened, texts

OTHER = IDENTITY | {"name": "other", "weights_sha256": "1", "dimension": DIMENSION // 2}


class OtherEmbedder(HashingEmbedder):
    """Half of the numbers."""

    def embed_passages(self, texts, on_progress=None):
        return np.stack([self.embed_question(text) for text in texts])

    def embed_question(self, question):
        vector = super().embed_question(question)[: DIMENSION // 2]
        return vector / np.linalg.norm(vector)


def bytes_of(folder):
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def words_like(index, prefix):
    """What the files of the word index hold, deleted or not: tantivy's form of words cannot be grepped."""
    index._lexical._index.reload()
    return index._lexical._index.searcher().terms_with_prefix("text", prefix)


# erased means erased


@pytest.mark.parametrize("size", [3, 200])
def test_a_deleted_document_is_in_no_file(index, put, size, monkeypatch):
    monkeypatch.setattr(vectors, "FLAT_UP_TO", 100)
    secret = "the quixotic Zbrzeznicki signed at Wolverhampton"
    put(index, [secret, *(f"text {n} speaks of oak and tar" for n in range(size))], prefix="secret")
    assert found(index, "Zbrzeznicki")[1]
    vector = HashingEmbedder().embed_question(secret).astype("<f4").tobytes()
    traces = [
        b"Zbrzeznicki",
        b"quixotic",
        b"Wolverhampton",
        b"secret0",
        hashlib.sha256(secret.encode()).digest().hex().encode(),
        vector,
    ]
    stored = bytes_of(index.folder)
    assert all(trace in stored for trace in traces), "the test could not fail"
    assert words_like(index, "zbrz"), "the test could not fail"
    with index.writing():
        index.catalog.remove_sources(["/secret0.txt"])
    left = bytes_of(index.folder)
    assert not [trace for trace in traces if trace in left]
    assert not [word for word in ("zbrz", "quixot", "wolverh") if words_like(index, word)]
    assert found(index, "Zbrzeznicki")[1] == []
    assert len(found(index, "oak", size)[1]) == size


# large collections


@pytest.mark.parametrize(("flat", "sq8", "kind"), [(50, 10**6, "SQ8"), (50, 100, "IVF")])
def test_large_collections_answer_like_small_ones(index, put, monkeypatch, flat, sq8, kind):
    monkeypatch.setattr(vectors, "FLAT_UP_TO", flat)
    monkeypatch.setattr(vectors, "SQ8_UP_TO", sq8)
    monkeypatch.setattr(vectors, "_TRAINING_PER_LIST", 5)
    contents = [f"number {n} tells of oak{n} and tar{n % 7}" for n in range(400)]
    put(index, contents)
    assert index.kind.startswith(kind)
    snapshot = index.folder / "vectors.snapshot"
    assert snapshot.is_file()
    question = HashingEmbedder().embed_question(contents[17])
    every = np.arange(1, 401)

    def nearest(k, allowed=None):
        again = reopened(index)
        with again.reading():
            return again.search_dense(question, k, allowed)

    assert nearest(1) == [(18, pytest.approx(1, abs=1e-6))], "similarities are exact whatever the kind"
    assert [i for i, _ in nearest(9, every[100:105])] == sorted(
        every[100:105].tolist(), key=lambda i: -dict(nearest(400, every))[i]
    )
    with index.writing():
        index.catalog.remove_sources(["/doc17.txt", "/doc3.txt"])
    assert {18, 4}.isdisjoint(i for i, _ in nearest(400))
    put(index, [contents[17]], prefix="again")
    assert nearest(1)[0][0] == 401
    for harm in (b"", b"nonsense", snapshot.read_bytes()[:-1], snapshot.read_bytes()[:-9] + b"123456789"):
        snapshot.write_bytes(harm)
        assert nearest(1)[0][0] == 401, "a damaged snapshot is not read"
    with index.writing():
        pass
    assert vectors.VectorIndex.load(snapshot, DIMENSION).count == 399


def test_a_snapshot_of_another_history_is_not_caught_up_with(index, put, monkeypatch):
    monkeypatch.setattr(vectors, "FLAT_UP_TO", 2)
    put(index, TEXTS[:3])
    index.close()
    backup = index.folder.with_name("backup")
    shutil.copytree(index.folder, backup)
    later, other = open_index(index.folder, IDENTITY), open_index(backup, IDENTITY)
    put(later, ["one history goes on with varnish"], prefix="a")
    put(other, ["another one goes on with anchors", "and with chains"], prefix="b")
    for name in ("vectors.snapshot", "lexical"):
        target = backup / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    shutil.copytree(index.folder / "lexical", backup / "lexical")
    shutil.copy(index.folder / "vectors.snapshot", backup)
    again = reopened(other)
    dense, lexical = found(again, "goes on with anchors")
    assert texts(again, dense)[0] == texts(again, lexical)[0] == "another one goes on with anchors"
    assert "varnish" not in " ".join(texts(again, found(again, "varnish", 9)[1]))


# another embedder


def test_another_embedder_takes_over_in_one_step(index, put, tmp_path):
    put(index, TEXTS)
    reader = reopened(index)
    before = found(reader, "steamed oak")
    with index.writing():
        next_embedder.start(index.catalog, OTHER)
        embed_next(index, Chunker(bundled_file("embedder")), OtherEmbedder())
        assert found(reader, "steamed oak") == before, "the former passages answer until the others are whole"
        index.finish_next(OTHER)
    with pytest.raises(ModelError, match="embedded again with other"):
        found(reader, "steamed oak")
    with pytest.raises(ModelError, match="rag collections reembed collection"):
        reopened(index)
    again = open_index(index.folder, OTHER)
    with again.reading():
        nearest = again.search_dense(OtherEmbedder().embed_question("steamed oak ribs"), 1)
        assert texts(again, nearest) == texts(again, again.search_lexical("steamed oak", 1)) == [TEXTS[3]]
    assert min(again.catalog.passage_ids()) > 4, "ids are not reused"
    assert check(again, repair=False) == []


def test_an_interrupted_re_embedding_goes_on_where_it_stopped(index, put):
    put(index, TEXTS)
    embedded = []

    class Failing(OtherEmbedder):
        def embed_passages(self, texts, on_progress=None):
            embedded.extend(texts)
            if len(embedded) == 3:
                raise KeyboardInterrupt
            return super().embed_passages(texts)

    chunker = Chunker(bundled_file("embedder"))
    with index.writing():
        next_embedder.start(index.catalog, OTHER)
    with pytest.raises(KeyboardInterrupt), index.writing():
        embed_next(index, chunker, Failing())
    with pytest.raises(CollectionError, match="2 documents"), index.writing():
        index.finish_next(OTHER)
    assert len(found(index, "oak slipway soup", 9)[0]) == 4
    embedded.clear()
    with index.writing():
        next_embedder.start(index.catalog, OTHER)
        embed_next(index, chunker, OtherEmbedder())
        assert next_embedder.left(index.catalog) == []
        index.finish_next(OTHER)
    assert index.catalog.count() == 4


def test_what_is_stored_meanwhile_gives_up_the_other_embedder(index, put):
    put(index, TEXTS[:2])
    with index.writing():
        next_embedder.start(index.catalog, OTHER)
    put(index, TEXTS[2:], prefix="late")
    assert not index.catalog.db.has_next_tables()


# carried


def test_an_export_is_the_collection(index, put, tmp_path):
    put(index, TEXTS)
    index.catalog.tag(["/doc0.txt"], add=["tea"])
    export(index.folder, tmp_path / "one.openbook")
    import_(tmp_path / "one.openbook", tmp_path / "two")
    again = open_index(tmp_path / "two", IDENTITY)
    assert found(again, "oak slipway 防火门", 9) == found(index, "oak slipway 防火门", 9)
    assert list(again.catalog.documents()) == list(index.catalog.documents())
    assert list(holdings(again.catalog, Filter(tags=("tea",)))) == list(holdings(index.catalog, Filter(tags=("tea",))))
    assert (tmp_path / "one.openbook").stat().st_mode & 0o077 == 0
    with pytest.raises(CollectionError, match="there already"):
        export(index.folder, tmp_path / "one.openbook")
    with pytest.raises(CollectionError, match="already; choose another name"):
        import_(tmp_path / "one.openbook", tmp_path / "two")


def _flip(file):
    content = bytearray(file.read_bytes())
    at = content.index(b"slipway")
    content[at] ^= 1
    file.write_bytes(content)


def _sql(*statements):
    def harm(file):
        with sqlite3.connect(file) as db:
            for statement in statements:
                db.execute(statement)
        db.close()

    return harm


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_flip, "checksum|not the document's"),
        (lambda file: file.write_bytes(b"PK\x03\x04" + bytes(4000)), "not a readable catalogue"),
        (lambda file: file.write_bytes(file.read_bytes()[:-8192]), "damaged|malformed|not a|cannot be used"),
        (_sql("CREATE TRIGGER t AFTER INSERT ON documents BEGIN DELETE FROM documents; END"), "holds the trigger t"),
        (_sql("CREATE VIEW v AS SELECT 1"), "holds the view v"),
        (_sql("DELETE FROM vectors WHERE passage_id = 1"), "1 passages have 0 vectors"),
        (_sql("DELETE FROM meta WHERE key LIKE 'embedder%'"), "names no embedder"),
        (_sql("UPDATE meta SET value = '77' WHERE key = 'format'"), "format 77"),
        (lambda file: file.unlink(), "no file"),
    ],
)
def test_a_damaged_export_is_refused_and_leaves_nothing(index, put, tmp_path, harm, reason):
    put(index, TEXTS)
    export(index.folder, tmp_path / "one.openbook")
    harm(tmp_path / "one.openbook")
    with pytest.raises(CollectionError, match=reason):
        import_(tmp_path / "one.openbook", tmp_path / "home" / "two")
    assert not [path for path in tmp_path.rglob("*") if "home" in path.parts and path.name != "home"]


def test_deleting_is_for_whole_collections_that_nobody_writes_to(index, put):
    put(index, TEXTS)
    with index.writing(), pytest.raises(LockedError):
        delete(index.folder)
    assert [(s.name, s.documents, s.passages, s.index) for s in summaries(index.folder.parent)] == [
        ("collection", 4, 4, "Flat")
    ]
    delete(index.folder)
    assert list(summaries(index.folder.parent)) == []
    assert not [f for f in index.folder.parent.iterdir() if "collection" in f.name]


# older formats

FORMAT_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, media_type TEXT NOT NULL, text TEXT NOT NULL, page_starts TEXT NOT NULL
);
CREATE TABLE sources (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    document_id TEXT REFERENCES documents (id), reason TEXT
);
CREATE INDEX sources_by_document ON sources (document_id);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    text TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, page INTEGER, heading_path TEXT NOT NULL
);
CREATE INDEX passages_by_document ON passages (document_id);
CREATE TABLE vectors (
    passage_id INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE, vector BLOB NOT NULL
);
INSERT INTO meta VALUES ('format', '1');
"""


def old_collection(folder):
    folder.mkdir(mode=0o700)
    db = sqlite3.connect(folder / "catalog.sqlite")
    db.executescript(FORMAT_1)
    db.executemany(
        "INSERT INTO meta VALUES (?, ?)", [(f"embedder_{key}", str(value)) for key, value in IDENTITY.items()]
    )
    db.execute("INSERT INTO documents VALUES ('d', 'Title', 'application/pdf', 'first page\n\nsecond page', '[0, 12]')")
    db.execute("INSERT INTO sources VALUES ('/d.pdf', 5, 6, 'd', NULL), ('/bad.pdf', 5, 6, NULL, 'broken')")
    for i, (text, start, end, page) in {7: ("first page", 0, 10, 1), 9: ("second page", 12, 23, 2)}.items():
        db.execute("INSERT INTO passages VALUES (?, 'd', ?, ?, ?, ?, '[]')", (i, text, start, end, page))
        db.execute("INSERT INTO vectors VALUES (?, ?)", (i, HashingEmbedder().embed_question(text).tobytes()))
    db.execute("UPDATE sqlite_sequence SET seq = 20")
    db.commit()
    db.close()


def test_a_collection_of_format_1_becomes_one_of_the_present_format(tmp_path, put):
    old_collection(tmp_path / "old")
    index = open_index(tmp_path / "old", IDENTITY)
    assert index.catalog.meta("format") == str(FORMAT)
    dense, lexical = found(index, "second")
    assert texts(index, dense)[0] == texts(index, lexical)[0] == "second page"
    assert index.passages([9])[9].place == "page 2"
    [document] = index.catalog.documents()
    assert (document.places, document.sources) == (((0, 1), (12, 2)), ("/d.pdf",))
    assert check(index, repair=False) == []
    assert index.catalog.sources()["/bad.pdf"].reason == "broken"
    put(index, ["a new one"])
    assert index.catalog.passage_ids().tolist() == [7, 9, 21], "ids are not reused"
    assert open_catalog(tmp_path / "old").count() == 3


def test_a_new_collection_is_like_a_migrated_one(tmp_path):
    old_collection(tmp_path / "old")
    (tmp_path / "new").mkdir()
    schemas = []
    for name in ("old", "new"):
        catalog = Catalog(tmp_path / name)
        rows = catalog.db.rows("SELECT type, name, sql FROM sqlite_master ORDER BY name")
        schemas.append(list(rows))
    assert schemas[0] == schemas[1]


# the doctor


def whole(index):
    return [finding.what for finding in check(index, repair=False)]


def test_a_healthy_collection_has_no_findings(index, put):
    assert whole(index) == []
    put(index, TEXTS)
    assert whole(index) == []


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE documents SET text = replace(text, 'soup', 'soap')", "does not match its checksum"),
        ("UPDATE passages SET text = replace(text, 'soup', 'soap')", "not the document's"),
        ("UPDATE passages SET start = 1 WHERE id = 2", "does not match its checksum"),
        ("UPDATE vectors SET vector = zeroblob(256) WHERE passage_id = 3", "does not match its checksum"),
        ("DELETE FROM vectors WHERE passage_id = 3", "1 passages have 0 vectors"),
        ("DELETE FROM sources WHERE path = '/doc1.txt'", "belong to no file"),
    ],
)
def test_the_doctor_finds_what_is_damaged(index, put, statement, finding):
    put(index, TEXTS)
    index.catalog.db.execute("UPDATE documents SET reader = 'present'")
    index.catalog.db.execute(statement)
    assert [what for what in whole(index) if finding in what]
    assert [what for what in whole(index) if finding in what], "looking changes nothing"
    repaired = check(index, repair=True)
    assert all(f.repaired for f in repaired)
    if "no file" in finding:
        assert whole(index) == []
        assert index.catalog.count() == 3
    else:
        assert list(index.catalog.readers().values()).count("") == 1, "the next sync reads that file again"


def test_the_doctor_closes_what_is_open_and_mends_the_caches(index, put, monkeypatch):
    monkeypatch.setattr(vectors, "FLAT_UP_TO", 2)
    put(index, TEXTS)
    index.folder.chmod(0o755)
    (index.folder / "vectors.new").write_bytes(b"half")
    (index.folder / "vectors.snapshot").write_bytes(b"nonsense")
    for file in (index.folder / "lexical").glob("*.term"):
        file.write_bytes(b"\0" * 100)
    again = LocalIndex(open_catalog(index.folder))
    assert len(check(again, repair=False)) == 4
    assert len(check(LocalIndex(open_catalog(index.folder)), repair=True)) == 4
    assert check(LocalIndex(open_catalog(index.folder)), repair=False) == []
    assert index.folder.stat().st_mode & 0o777 == 0o700
    assert texts(index, found(index, "steamed oak")[1]) == [TEXTS[3]]


def test_a_writer_that_is_open_while_the_embedder_changes_stores_nothing(index, put):
    put(index, TEXTS)
    watcher = reopened(index)
    with index.writing():
        next_embedder.start(index.catalog, OTHER)
        embed_next(index, Chunker(bundled_file("embedder")), OtherEmbedder())
        index.finish_next(OTHER)
    with pytest.raises(ModelError, match="embedded again"), watcher.writing():
        pass


def test_a_collection_that_cannot_be_read_hides_no_other(index, put):
    put(index, TEXTS)
    broken = index.folder.with_name("broken")
    broken.mkdir()
    (broken / "catalog.sqlite").write_bytes(b"junk" * 500)
    assert [(s.name, bool(s.problem)) for s in summaries(index.folder.parent)] == [
        ("broken", True),
        ("collection", False),
    ]
