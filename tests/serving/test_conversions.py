"""Files of clients: first rows, conversion, what is fetched, and that nothing stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import RUNS, serving
from starlette.exceptions import HTTPException

from charseq.inference.convert import convert
from charseq.inference.predictor import load
from charseq.serving.conversions import clean_name

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
ROWS = b"id,word\n1,kogima\n2,banana\n3,\n4,xyz\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[httpx.Client]:
    with serving("--max-upload", "1", runs=RUNS[:1], env={"TMPDIR": str(place)}) as found:
        with httpx.Client(base_url=found.url, timeout=120) as made:
            yield made
        assert found.stop()[0] == 143
        assert list(place.iterdir()) == [], "no file stays"


def upload(client: httpx.Client, content: bytes, name: str = "words.csv") -> Any:
    return client.put("/v1/files", params={"name": name}, content=content)


def converted(client: httpx.Client, number: str, **options: Any) -> dict[str, Any]:
    with client.stream("POST", f"/v1/files/{number}/convert", json=options) as answer:
        answer.read()
        assert answer.status_code == 200, answer.text
        lines = [json.loads(line) for line in answer.text.splitlines()]
    assert all("rows" in line for line in lines[:-1])
    return dict(lines[-1])


def test_a_file_there_and_back(client: httpx.Client, place: Path, tmp_path: Path) -> None:
    found = upload(client, ROWS).json()
    assert found["columns"] == ["id", "word"]
    assert found["rows"][:2] == [["1", "kogima"], ["2", "banana"]]
    (folder,) = place.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    done = converted(client, found["id"], column="word", threshold=1.0, scores=True)["done"]
    assert done["rows"] == 4
    assert done["unsure"] == 3
    assert set(done["files"]) == {"result", "review"}
    assert not any(str(folder) in note for note in done["notes"])
    result = client.get(f"/v1/files/{found['id']}/result")
    (tmp_path / "words.csv").write_bytes(ROWS)
    convert(
        load(RUNS[0]), tmp_path / "words.csv", tmp_path / "own.csv", column="word",
        threshold=1.0, scores=True, review=tmp_path / "review.csv",
    )  # fmt: skip
    assert result.content == (tmp_path / "own.csv").read_bytes()
    assert "words.converted.csv" in result.headers["content-disposition"]
    review = client.get(f"/v1/files/{found['id']}/review").content
    assert review == (tmp_path / "review.csv").read_bytes()
    assert client.get(f"/v1/files/{found['id']}/rejects").status_code == 404
    again = converted(client, found["id"], column="word")["done"]
    assert set(again["files"]) == {"result"}, "the review of before is gone"
    assert client.delete(f"/v1/files/{found['id']}").status_code == 204
    assert client.get(f"/v1/files/{found['id']}/result").status_code == 404
    assert list(folder.iterdir()) == []


def test_faults_are_told_without_the_folder(client: httpx.Client, place: Path) -> None:
    found = upload(client, ROWS).json()
    fault = converted(client, found["id"], column="nothing")["fault"]
    assert "nothing" in fault
    assert str(place) not in fault
    bad = upload(client, b'a,b\n"never closed\n')
    assert bad.status_code == 422
    assert str(place) not in bad.text
    client.delete(f"/v1/files/{found['id']}")


def test_rejected_rows_are_a_part_told_without_the_folder(
    client: httpx.Client, place: Path
) -> None:
    lines = b'{"word": "kogima"}\n{"word": \n{"word": "banana"}\n'
    found = upload(client, lines, name="words.jsonl").json()
    done = converted(client, found["id"], column="word")["done"]
    assert (done["rows"], done["rejected"]) == (3, 1)
    assert set(done["files"]) == {"result", "rejects"}
    assert str(place) not in json.dumps(done)
    assert client.get(f"/v1/files/{found['id']}/rejects").content.count(b"\n") == 1
    client.delete(f"/v1/files/{found['id']}")


def test_files_are_bounded(client: httpx.Client) -> None:
    assert upload(client, b"x" * (2**20 + 1)).status_code == 413
    assert upload(client, ROWS, name="x.exe").status_code == 422
    assert client.put("/v1/files", content=ROWS).status_code == 422
    assert client.get("/v1/files/nothing/result").status_code == 404
    assert client.post("/v1/files/nothing/convert", json={}).status_code == 404
    for _ in range(16):
        assert upload(client, b"a\nb\n", name="a.txt").status_code == 200
    assert upload(client, b"a\n", name="a.txt").status_code == 429


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("orders.csv", "orders.csv"),
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\data\\März 2021.xlsx", "März_2021.xlsx"),
        ("-rf.tsv.gz", "rf.tsv.gz"),
        ("a\0b\n.csv", "a_b_.csv"),
        ("x" * 200 + ".csv", "x" * 80 + ".csv"),
        ("db.sqlite::table.csv", "db.sqlite_table.csv"),
    ],
)
def test_names_are_cleaned(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


@pytest.mark.parametrize("name", ["", "x", "x.exe", "..", "/"])
def test_names_without_a_format_are_refused(name: str) -> None:
    with pytest.raises(HTTPException):
        clean_name(name)
