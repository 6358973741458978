"""The file of each split, and the rows that are held out: the same for pairs and for lines."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data import corpus, pairs
from charseq.data.splits import (
    HELD_OUT,
    SPLITS,
    check_splits,
    choose_files,
    count_keys,
    find_files,
    fingerprint,
    hash_key,
    hash_ranges,
    stem,
    tail_ranges,
)
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


# --- rows that are held out


def test_a_key_is_the_beginning_of_a_sha256_and_the_same_for_equal_spellings() -> None:
    assert hash_key("abc") == 0xBA7816BF8F01CFEA
    assert (
        hash_key("e\u0301")
        == hash_key("\u00e9")
        == int(hashlib.sha256("\u00e9".encode()).hexdigest()[:16], 16)
    )


def digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_held_out_rows_have_not_changed_since_the_first_version(tmp_path: Path) -> None:
    """Scores of models that were trained earlier are measured on these rows."""
    texts = [f"w{i % 700}\u00e9{i % 3}" for i in range(3000)]
    table, lines = "".join(f"{text}\tx\n" for text in texts), "\n".join(texts)
    first, second = "0a9a5183c3237239", "d639a19427420b7f"
    for name, content in (("all.tsv", table), ("all.txt", lines)):
        (tmp_path / name).write_text(content, encoding="utf-8")
        folder = tmp_path / f"{name} alone"
        folder.mkdir()
        (folder / f"train{name[3:]}").write_text(content, encoding="utf-8")
    whole = pairs.load(tmp_path / "all.tsv")
    assert digest([one.source for one in whole.dev]) == first
    assert digest([one.source for one in whole.test]) == second
    assert digest([one.source for one in pairs.load(tmp_path / "all.tsv alone").dev]) == second
    text = corpus.load(tmp_path / "all.txt")
    assert (digest([*text.dev]), digest([*text.test])) == (first, second)
    assert digest([*corpus.load(tmp_path / "all.txt alone").dev]) == second
    last = corpus.load(tmp_path / "all.txt", running=True)
    assert (digest([*last.dev]), digest([*last.test])) == ("13b1f5ae8508db85", "dc375b8bf87b8044")


def test_train_keeps_a_source_where_the_keys_of_all_are_small(tmp_path: Path) -> None:
    sources = ["w2", "w20"]
    assert all(hash_key(source) < HELD_OUT * 2**64 for source in sources)
    path = tmp_path / "all.tsv"
    path.write_text("w2\tx\nw20\tx\n", encoding="utf-8")
    found = pairs.load(path)
    assert [one.source for one in found.train] == ["w2"]
    assert [one.source for one in found.test] == ["w20"]


KEYS = st.lists(st.sampled_from([0.0, 0.01, 0.049, 0.05, 0.07, 0.1, 0.2, 0.9]), min_size=1)


@given(KEYS, st.sampled_from([("train", "dev"), SPLITS]))
def test_each_row_falls_into_one_split_and_train_is_never_empty(
    keys: list[float], names: tuple[str, ...]
) -> None:
    ranges = hash_ranges(*count_keys(np.array(keys)), names)
    assert set(ranges) == set(names)
    found = {
        name: [k for k in keys if first <= k < end] for name, (first, end, _) in ranges.items()
    }
    assert sorted(key for part in found.values() for key in part) == sorted(keys)
    assert {name: len(part) for name, part in found.items()} == {
        name: one.rows for name, one in ranges.items()
    }
    assert found["train"]
    left, limit = set(keys), 0.0
    for name in ("test", "dev"):
        if name in names:
            limit += HELD_OUT
            assert bool(found[name]) == (len(left) > 1)
            assert all(key < limit or {key} == set(found[name]) for key in found[name])
            left -= set(found[name])


@given(st.integers(1, 100_000), st.sampled_from([("train", "dev"), SPLITS]))
def test_the_last_rows_are_held_out_in_order(count: int, names: tuple[str, ...]) -> None:
    ranges = [tail_ranges(count, names)[name] for name in SPLITS if name in names]
    assert [one.first for one in ranges] == [0, *(one.end for one in ranges[:-1])]
    assert ranges[-1].end == count
    assert [one.end - one.first for one in ranges] == [one.rows for one in ranges]
    assert ranges[0].rows >= max(1, 0.9 * count - 2)
    if count > 2:
        assert all(one.rows for one in ranges)


# --- names of files


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.tsv", "val.tsv"], {"train": "train.tsv", "dev": "val.tsv"}),
        (["training.tsv", "development.tsv", "testing.tsv"],
         {"train": "training.tsv", "dev": "development.tsv", "test": "testing.tsv"}),
        (["eng_train.tsv", "eng_dev.tsv", "eng_test.tsv"],
         {"train": "eng_train.tsv", "dev": "eng_dev.tsv", "test": "eng_test.tsv"}),
        (["train.eng.tsv.gz", "valid.eng.csv"],
         {"train": "train.eng.tsv.gz", "dev": "valid.eng.csv"}),
        (["Train-00000-of-00001.jsonl"], {"train": "Train-00000-of-00001.jsonl"}),
        (["eng_train.tsv", "deu_test.tsv"], {"train": "eng_train.tsv"}),
        (["train.tsv", "test_errors.tsv", "eng_dev.tsv"], {"train": "train.tsv"}),
        (["words.tsv", "trainer.tsv"], {}),
        (["eng_train.tsv.rejects.jsonl"], {}),
        (["train_test.tsv"], {}),
    ],
)  # fmt: skip
def test_names_of_splits_are_understood(
    tmp_path: Path, names: list[str], expected: dict[str, str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("a\tb\n")
    found = find_files(tmp_path, Path.is_file)
    assert {split: path.name for split, path in found.items()} == expected


def test_an_odd_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "eng_train.tsv").write_text("a\tb\n")
    (tmp_path / "eng_dev.tsv").write_text("c\td\n")
    assert pairs.load(tmp_path).problems == [
        "eng_train.tsv is read as the train split",
        "eng_dev.tsv is read as the dev split",
    ]


def test_several_data_sets_in_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("eng_train.tsv", "deu_train.tsv", "deu_dev.tsv"):
        (tmp_path / name).write_text("a\tb\n")
    told = r"deu_dev\.tsv, eng_train\.tsv are of several data sets: make a folder of each"
    with pytest.raises(DataError, match=told):
        pairs.load(tmp_path)
    (tmp_path / "eng_train.tsv").unlink()
    (tmp_path / "deu.train.tsv").write_text("a\tb\n")
    with pytest.raises(DataError, match=r"both deu\.train\.tsv and deu_train\.tsv"):
        pairs.load(tmp_path)


def test_without_a_train_file_the_files_there_are_named(tmp_path: Path) -> None:
    for name in ("eng.trn", "words.tsv"):
        (tmp_path / name).write_text("a\tb\n")
    with pytest.raises(DataError, match=r"no train file, .*; there are eng\.trn, words\.tsv"):
        pairs.load(tmp_path)
