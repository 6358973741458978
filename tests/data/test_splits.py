"""Which file is whose: the same for pairs and for lines of text."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from charseq.data.splits import check_splits, choose_files, find_files, fingerprint, stem
from charseq.errors import DataError, UsageError


def is_tsv(path: Path) -> bool:
    return path.suffix == ".tsv"


def test_a_name_without_its_endings() -> None:
    names = ["train.tsv", "Train.TSV.GZ", "a.b.txt", "words", "x.gz"]
    assert [stem(Path("d") / name) for name in names] == ["train", "Train", "a.b", "words", "x"]


def test_files_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("Train.tsv", "validation.tsv", "test.txt", "other.tsv"):
        (tmp_path / name).touch()
    found = find_files(tmp_path, is_tsv)
    assert {split: path.name for split, path in found.items()} == {
        "train": "Train.tsv",
        "dev": "validation.tsv",
    }
    assert find_files(tmp_path / "test.txt", is_tsv) == {"": tmp_path / "test.txt"}
    (tmp_path / "dev.tsv").touch()
    with pytest.raises(DataError, match=r"both dev.tsv and validation.tsv, expected one file"):
        find_files(tmp_path, is_tsv)
    with pytest.raises(DataError, match="no such file or folder"):
        find_files(tmp_path / "nothing", is_tsv)


def test_train_gives_up_dev_where_there_is_none() -> None:
    train, dev, test = Path("train"), Path("dev"), Path("test")
    files = {"test": test, "train": train}
    where = Path("d")
    assert choose_files(where, files, ["dev"], expected="x") == ["train"]
    assert choose_files(where, files, ["test"], expected="x") == ["test"]
    assert choose_files(where, files | {"dev": dev}, ["dev"], expected="x") == ["dev"]
    assert choose_files(where, {"": where}, ["dev"], expected="x") == [""]
    with pytest.raises(DataError, match=r"d: no train file, expected train\.txt"):
        choose_files(where, {"test": test}, ["train"], expected="train.txt")


def test_unknown_splits_are_refused() -> None:
    check_splits(["train", "test"])
    with pytest.raises(UsageError, match="unknown split 'eval', expected one of train, dev, test"):
        check_splits(["dev", "eval"])


def test_a_fingerprint_is_of_all_bytes_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    expected = hashlib.sha256(b"twoone").hexdigest()
    assert fingerprint([tmp_path / "b", tmp_path / "a"]) == expected
