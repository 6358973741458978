"""Pairs of files: no row is lost, no word is changed, no source is in two splits."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data import pairs as examples
from charseq.data import splits
from charseq.data.pairs import Dataset, Example, load, read_file
from charseq.data.settings_file import settings_of
from charseq.data.storage import PackedRecords
from charseq.errors import CharseqError, DataError, SettingError, UsageError

DATA = Path(os.environ.get("PUBLIC_DATA", Path(__file__).parents[3] / "shared" / "data"))


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(folder: Path, name: str, content: str | bytes, columns: str = "") -> list[Example]:
    """The train split of a folder with this file and a dev file that is always right."""
    put(folder, name, content)
    put(folder, "dev.tsv", "x\ty\tz\n" if columns.count(",") == 2 else "x\ty\n")
    return load(folder, columns=columns, splits=["train"]).train


def everything(dataset: Dataset) -> list[Example]:
    return dataset.train + dataset.dev + dataset.test


# --- what a file says


def test_words_that_pandas_would_lose_are_kept(tmp_path: Path) -> None:
    words = ["null", "NA", "nan", "None", "true", "1e5", "007", '"quoted', 'a"b', "#x"]
    found = rows(tmp_path, "train.tsv", "".join(f"{w}\t{w}\n" for w in words))
    assert [(e.source, e.target) for e in found] == [(w, w) for w in words]


def test_white_space_and_line_ends_of_unicode_stay_in_their_texts(tmp_path: Path) -> None:
    odd = [
        "\u00a0a\u00a0",
        "\u3000",
        "a\u2028b",
        "a\x0bb",
        "a\x0cb",
        "a\x1cb",
        "a\x85b",
        "a\rb",
        " a ",
    ]
    found = rows(tmp_path, "train.tsv", "".join(f"{w}\t{w}\n" for w in odd))
    assert [e.source for e in found] == odd
    assert [e.target for e in found] == odd


def test_byte_order_mark_crlf_and_no_last_line_end(tmp_path: Path) -> None:
    found = rows(tmp_path, "train.tsv", b"\xef\xbb\xbfa\tb\r\nc\td")
    assert found == [Example("a", "b"), Example("c", "d")]


def test_nothing_is_normalised(tmp_path: Path) -> None:
    assert rows(tmp_path, "train.tsv", "e\u0301\té\n") == [Example("e\u0301", "é")]


def test_several_targets_and_repeated_pairs_are_all_kept(tmp_path: Path) -> None:
    found = rows(tmp_path, "train.tsv", "a\tb\na\tc\na\tb\n")
    assert found == [Example("a", "b"), Example("a", "c"), Example("a", "b")]


@pytest.mark.parametrize("name", ["train.tsv", "train.txt", "TRAIN.TSV", "train.tab"])
def test_tabs_separate_in_tsv_and_txt(tmp_path: Path, name: str) -> None:
    assert rows(tmp_path, name, "a,b\tc\n") == [Example("a,b", "c")]


REVIEW = "source,target,candidate_1,probability_1,rows,line,note"


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{REVIEW}\na,x,b,0.1,3,7,unsure\nc,,d,0.2,2,1,unsure\ne,  ,f,0.3,1,2,unsure\n",
        # as a spreadsheet program writes it with German settings
        f"{REVIEW};;\r\na;x;b;0,1;3;7;unsure;;\r\nc;;d;0,2;2;1;unsure;;\r\ne;;;;;;;;\r\n".replace(
            ",", ";", 6
        ),
    ],
)
def test_sources_of_a_review_file_are_passed_over_until_they_are_filled_in(
    tmp_path: Path, content: str
) -> None:
    part = read_file(put(tmp_path, "review.csv", content))
    assert list(part.examples) == [Example("a", "x")]
    assert part.notes[-1] == "2 of 3 rows passed over, whose target is not filled in"
    found = load(tmp_path / "review.csv")
    assert everything(found) == [Example("a", "x")]
    assert any("2 of 3 rows passed over" in note for note in found.problems)


def test_a_review_file_that_is_not_filled_in_has_no_pairs(tmp_path: Path) -> None:
    path = put(tmp_path, "review.csv", f"{REVIEW}\na,,b,0.1,3,7,unsure\nc,,d,0.2,2,1,unsure\n")
    with pytest.raises(DataError, match="none of the 2 rows to review has a target: write the"):
        read_file(path)
    path.write_text(f"{REVIEW}\n")
    with pytest.raises(DataError, match="no rows in it, expected pairs"):
        read_file(path)


def test_other_files_have_no_empty_targets(tmp_path: Path) -> None:
    """Columns beside source and target do not make a review file."""
    path = put(tmp_path, "own.csv", "source,target,candidate_1\na,x,b\nc,,d\n")
    with pytest.raises(DataError, match="the target is empty"):
        read_file(path)


def test_every_format_and_gz_give_the_same(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("c,d", 'e"f'), ("é\u2028", "null")]
    jsonl = "".join(json.dumps({"target": t, "id": 7, "source": s}) + "\n" for s, t in pairs)
    quoted = "".join('"{}","{}"\n'.format(s, t.replace('"', '""')) for s, t in pairs)
    tsv = "".join(f"{s}\t{t}\n" for s, t in pairs)
    texts = {"tsv": tsv, "csv": quoted, "jsonl": jsonl, "ndjson": jsonl}
    for number, (ending, text) in enumerate(texts.items()):
        plain, packed = tmp_path / f"{number}", tmp_path / f"{number}gz"
        assert rows(plain, f"train.{ending}", text) == [Example(*p) for p in pairs]
        assert rows(packed, f"train.{ending}.gz", gzip.compress(text.encode())) == rows(
            plain, f"train.{ending}", text
        )


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"target": ["b", "null"], "source": ["a", "é"], "weight": [1, 2.5]})
    parquet.write_table(table, tmp_path / "train.parquet")
    assert load(tmp_path, splits=["train"]).train + load(tmp_path, splits=["dev"]).dev
    named = load(tmp_path, columns="source=target,target=source")
    assert {(e.source, e.target) for e in everything(named)} == {("b", "a"), ("null", "é")}
    assert {e.weight for e in everything(load(tmp_path))} == {1.0, 2.5}


# --- roles


def test_roles_by_position(tmp_path: Path) -> None:
    found = rows(tmp_path, "train.tsv", "b\ta\t3\n", "target,source,weight")
    assert found == [Example("a", "b", weight=3.0)]
    found = rows(tmp_path, "train.tsv", "a\tV;PST\tb\n", "source,features,target")
    assert found == [Example("a", "b", "V;PST")]
    assert rows(tmp_path, "train.tsv", "7\ta\tb\n", "skip,source,target") == [Example("a", "b")]
    assert rows(tmp_path, "train.tsv", "a\tV\tb\n", "source,-,target") == [Example("a", "b")]


def test_roles_by_number_leave_the_first_row_a_row(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", "x\tb\ta\ny\td\tc\n")
    found = load(tmp_path, columns="source=3,target=2")
    assert {(e.source, e.target) for e in everything(found)} == {("a", "b"), ("c", "d")}
    assert found.columns == "target = column 2, source = column 3"


def test_roles_by_the_headers_names(tmp_path: Path) -> None:
    put(tmp_path, "train.csv", "id,pron,word\n1,b,a\n2,d,c\n")
    found = load(tmp_path, columns="source=word,target=pron")
    assert {(e.source, e.target) for e in everything(found)} == {("a", "b"), ("c", "d")}
    assert found.columns == "target = column 2 (pron), source = column 3 (word)"


def test_a_header_of_role_names_is_found_and_others_by_the_setting(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", "Weight\tTarget\tid\tSource\n2\tb\t1\ta\n0.5\td\t2\tc\n")
    found = everything(load(tmp_path))
    assert {(e.source, e.target, e.weight) for e in found} == {("a", "b", 2), ("c", "d", 0.5)}
    put(tmp_path, "train.tsv", "wort\taussprache\na\tb\nc\td\n")
    assert len(everything(load(tmp_path))) == 3
    assert len(everything(load(tmp_path, header="yes"))) == 2
    put(tmp_path, "train.tsv", "source\ttarget\na\tb\n")
    assert len(everything(load(tmp_path, header="no"))) == 2


def test_json_keys_may_change_their_order_from_row_to_row(tmp_path: Path) -> None:
    text = '{"source": "a", "target": "b"}\n{"weight": 2, "x": [], "target": "d", "source": 3}\n'
    assert rows(tmp_path, "train.jsonl", text) == [Example("a", "b"), Example("3", "d", weight=2.0)]


def test_a_json_list_of_features_is_joined(tmp_path: Path) -> None:
    text = '{"source": "a", "target": "b", "features": ["V", "PST"]}\n'
    assert rows(tmp_path, "train.jsonl", text)[0].features == "V;PST"
    found = load(tmp_path, splits=["train"], feature_separator="|").train
    assert found[0].features == "V|PST"


# --- what is refused, in one line with its place


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("train.tsv", "", "", "train.tsv: no rows in it"),
        ("train.tsv", "\n\n", "", "train.tsv: no rows in it"),
        ("train.tsv", "source\ttarget\n", "", "train.tsv: no rows in it"),
        ("train.tsv", "a\n", "", "train.tsv:1: 1 column, expected source and target"),
        (
            "train.tsv",
            "a\tb\tc\n",
            "",
            "train.tsv:1: 3 columns, .*columns='source,features,target",
        ),
        ("train.tsv", "a\tb\nc\n", "", "train.tsv:2: 1 column, expected 2"),
        ("train.tsv", "a\tb\nc\td\te\n", "", "train.tsv:2: 3 columns, expected 2"),
        ("train.tsv", "a\tb\n\tc\n", "", "train.tsv:2: the source is empty"),
        ("train.tsv", "a\tb\nc\t\n", "", "train.tsv:2: the target is empty"),
        ("train.tsv", "a\tb\nc\t  \n", "", "train.tsv:2: the target is empty"),
        ("train.tsv", b"a\tb\n\xff\tc\n", "", "train.tsv:2: byte 0xff at column 1 is not UTF-8"),
        ("train.tsv", "a\tb\n", "source,target,weight", "train.tsv:1: 2 columns, but columns"),
        ("train.tsv", "a\tb\t1\nc\td\t0\n", "source,target,weight", "tsv:2: the weight is '0'"),
        ("train.tsv", "a\tb\t-1\n", "source,target,weight", "train.tsv:1: the weight is '-1'"),
        ("train.tsv", "a\tb\tnan\n", "source,target,weight", "train.tsv:1: the weight is 'nan'"),
        ("train.tsv", "a\tb\tinf\n", "source,target,weight", "train.tsv:1: the weight is 'inf'"),
        ("train.tsv", "a\tb\t\n", "source,target,weight", "train.tsv:1: the weight is ''"),
        ("train.tsv", "a\tb\tx\n", "source,target,weight", "expected a number above 0"),
        (
            "train.tsv",
            "word\tpron\na\tb\n",
            "source=word,target=x",
            "no column 'x': .*'word', 'pron'",
        ),
        ("train.tsv", "a\tb\n", "source=1,target=5", "train.tsv:1: no column '5'"),
        ("train.tsv", "source\ttarget\tSource\na\tb\tc\n", "", "2 columns are named 'source'"),
        ("train.csv", 'a,b\n"c,d\n', "", "train.csv:2: a quote is opened here and not closed"),
        ("train.jsonl", '{"source": "a"}\n', "", r"train.jsonl:1: 1 column \(source\)"),
        ("train.jsonl", '{"a": "a", "b": "c"}\n', "", "columns='source=a,target=b"),
        ("train.jsonl", '{"source": "a", "target": null}\n', "", "jsonl:1: the target is empty"),
        ("train.jsonl", '{"source": "a", "target": [1]}\n', "", "jsonl:1: a value of type list"),
        ("train.jsonl", '{"source": "a", "target": "b", "weight": true}\n', "", "weight is 'True'"),
        ("train.jsonl", '{"a": "b", "c": "d"}\n', "source,target", "JSON has names, not positions"),
        ("train.jsonl", '{"source": "a", "target": "b"}\n{', "", "jsonl:2: not valid JSON"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, columns: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        rows(tmp_path, name, content, columns)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.tsv", "a\tb\nc\t\nd\t  \n"),
        ("train.csv", "source,target\na,b\nc,\nd,\n"),
        (
            "train.jsonl",
            "".join(
                f'{{"source": "{source}", "target": {target}}}\n'
                for source, target in (("a", '"b"'), ("c", '""'), ("d", "null"))
            ),
        ),
    ],
)
def test_targets_may_be_empty_where_the_data_say_so(
    tmp_path: Path, name: str, content: str
) -> None:
    put(tmp_path, name, content)
    put(tmp_path, "dev.tsv", "x\ty\n")
    found = load(tmp_path, empty_targets=True)
    assert [(one.source, one.target) for one in found.train] == [("a", "b"), ("c", ""), ("d", "")]
    told = f"{tmp_path / name}: 2 of 3 targets are empty: no answer"
    assert told in found.problems
    with pytest.raises(DataError, match=r"the target is empty .*empty_targets=True takes an empty"):
        load(tmp_path)
    with pytest.raises(DataError, match="the source is empty"):
        load(put(tmp_path, "other.tsv", "a\tb\n\tc\n"), empty_targets=True)


def test_half_a_gz_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress("".join(f"{i}\t{i * i}\n" for i in range(9999)).encode())
    with pytest.raises(DataError, match=r"train.tsv.gz: the .gz is damaged or incomplete"):
        rows(tmp_path, "train.tsv.gz", packed[: len(packed) // 2])


def test_blank_lines_are_skipped_and_reported(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", "a\tb\n\nc\td\n\r\n\n")
    put(tmp_path, "dev.tsv", "x\ty\n\n")
    dataset = load(tmp_path)
    assert dataset.train == [Example("a", "b"), Example("c", "d")]
    assert dataset.lines["train"] == [1, 3]
    assert dataset.problems == [
        f"{tmp_path}/train.tsv:2: 3 blank lines passed over, this is the first",
        f"{tmp_path}/dev.tsv:2: 1 blank line passed over, this is the first",
    ]


def test_unknown_splits_headers_and_roles_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", "a\tb\n")
    with pytest.raises(UsageError, match="unknown split 'tset', expected one of train, dev, test"):
        load(tmp_path, splits=["tset"])
    with pytest.raises(UsageError, match="header is 'maybe'"):
        load(tmp_path, header="maybe")
    with pytest.raises(SettingError, match="the role 'word'"):
        load(tmp_path, columns="word,target")


# --- folders and splits


def test_a_folder_and_its_splits(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    put(folder, "train.csv", "source,target\na,b\n")
    put(folder, "valid.jsonl", '{"source": "c", "target": "d"}\n')
    put(folder, "test.tsv.gz", gzip.compress(b"e\tf\n"))
    put(folder, "README.md", "x")
    put(folder, "train.md", "x")
    dataset = load(folder)
    assert dataset.split("train") == [Example("a", "b")]
    assert dataset.split("dev") == [Example("c", "d")]
    assert dataset.split("test") == [Example("e", "f")]
    assert dataset.name == "set"
    assert dataset.problems == []
    assert dataset.files["dev"] == folder / "valid.jsonl"
    names = ["train.csv", "valid.jsonl", "test.tsv.gz"]
    whole = b"".join((folder / name).read_bytes() for name in names)
    assert dataset.fingerprint == hashlib.sha256(whole).hexdigest()


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", b"\xff")
    put(tmp_path, "test.tsv", "e\tf\n")
    dataset = load(tmp_path, splits=["test"])
    assert (dataset.train, dataset.test) == ([], [Example("e", "f")])


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", "a\tb\n")
    put(tmp_path, "validation.tsv", "a\tb\n")
    put(tmp_path, "dev.csv.gz", "a\tb\n")
    with pytest.raises(DataError, match=r"both dev.csv.gz and validation.tsv, expected one file"):
        load(tmp_path)


def test_a_missing_file_or_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        load(tmp_path / "nowhere")
    for read in (load, settings_of):
        with pytest.raises(DataError, match="cannot be read: File name too long"):
            read(tmp_path / ("x" * 300))
    with pytest.raises(DataError, match="no train file, expected one such"):
        load(tmp_path)
    put(tmp_path, "train.tsv", "a\tb\n")
    with pytest.raises(DataError, match="no examples for the test split"):
        load(tmp_path, splits=["test"])
    assert load(tmp_path).test == []


def test_without_a_dev_file_sources_of_train_are_held_out(tmp_path: Path) -> None:
    text = "".join(f"w{i % 700}\t{i}\n" for i in range(1400))
    put(tmp_path, "train.tsv", text)
    dataset = load(tmp_path)
    assert len(dataset.train) + len(dataset.dev) == 1400
    assert 20 <= len(dataset.dev) <= 120
    assert not {e.source for e in dataset.train} & {e.source for e in dataset.dev}
    assert f"no dev file: {len(dataset.dev)} rows of train are held out" in dataset.problems[0]
    # Whatever is wanted, the split is the same: a score on train never meets dev.
    assert load(tmp_path, splits=["train"]).train == dataset.train
    assert load(tmp_path, splits=["dev"]).dev == dataset.dev
    lines = text.split("\n")
    for name in ("train", "dev"):
        for example, line in zip(dataset.split(name), dataset.lines[name], strict=True):
            assert lines[line - 1] == f"{example.source}\t{example.target}"


def test_no_more_than_2000_rows_are_held_out(tmp_path: Path) -> None:
    put(tmp_path, "train.tsv", "".join(f"w{i}\tx\n" for i in range(60_000)))
    assert 1990 <= len(load(tmp_path).dev) <= 2000


def test_one_file_is_split_by_its_sources(tmp_path: Path) -> None:
    path = put(tmp_path, "pairs.tsv.gz", gzip.compress(
        "".join(f"w{i // 3}\t{i}\n" for i in range(6000)).encode()
    ))  # fmt: skip
    dataset = load(path)
    sources = [{e.source for e in dataset.split(name)} for name in ("train", "dev", "test")]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 2000
    assert len(everything(dataset)) == 6000
    assert 0.88 < len(sources[0]) / 2000 < 0.92
    assert 0.035 < len(sources[1]) / 2000 < 0.065
    assert 0.035 < len(sources[2]) / 2000 < 0.065
    assert dataset.name == "pairs"
    assert "split 90/5/5" in dataset.problems[0]


def test_a_source_keeps_its_split_when_the_file_grows(tmp_path: Path) -> None:
    lines = [f"w{i}\t{i}\n" for i in range(2000)]
    old = load(put(tmp_path, "a.tsv", "".join(lines[:1000])))
    new = load(put(tmp_path, "b.tsv", "".join(reversed(lines))))
    for name in ("train", "dev", "test"):
        assert set(old.split(name)) <= set(new.split(name))


def test_equal_spellings_fall_into_the_same_split(tmp_path: Path) -> None:
    text = "".join(f"é{i}\tx\ne\u0301{i}\tx\n" for i in range(300))
    dataset = load(put(tmp_path, "a.tsv", text))
    for name in ("train", "dev", "test"):
        sources = [e.source for e in dataset.split(name)]
        assert sum(s.startswith("é") for s in sources) == len(sources) / 2


@pytest.mark.parametrize("count", [3, 4, 10, 30])
def test_a_tiny_file_still_has_every_split(tmp_path: Path, count: int) -> None:
    dataset = load(put(tmp_path, "a.tsv", "".join(f"{i}\tx\n" for i in range(count))))
    assert dataset.train
    assert dataset.dev
    assert dataset.test


def test_one_source_alone_is_trained_on(tmp_path: Path) -> None:
    dataset = load(put(tmp_path, "a.tsv", "a\tb\na\tc\n"))
    assert (len(dataset.train), len(dataset.dev), len(dataset.test)) == (2, 0, 0)


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), min_size=1)


@settings(max_examples=60)
@given(pairs=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12))
def test_no_pair_is_lost_or_changed(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    pairs = [("a" + source, "b" + target) for source, target in pairs]
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    dataset = load(put(tmp_path_factory.mktemp("set"), "pairs.tsv", text))
    found = sorted((e.source, e.target) for e in everything(dataset))
    assert found == sorted(pairs)


@settings(max_examples=100)
@given(
    content=st.binary(max_size=60), name=st.sampled_from(["a.tsv", "a.csv", "a.jsonl", "a.tsv.gz"])
)
def test_any_bytes_give_examples_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = put(tmp_path_factory.mktemp("set"), name, content)
    try:
        found = everything(load(path))
    except CharseqError as error:
        found = []
        message = str(error)
    if found:
        assert all(e.source and e.target and e.weight > 0 for e in found)
    else:
        assert message.startswith(str(path))
        assert "\n" not in message


def test_a_table_of_columns_reads_the_data(tmp_path: Path) -> None:
    put(tmp_path, "charseq.toml", '[columns]\nsource = "last, first"\ntarget = 1\n')
    put(tmp_path, "train.csv", 'id,"last, first"\nb,a\n')
    put(tmp_path, "dev.csv", 'id,"last, first"\nb,a\n')
    assert load(tmp_path, columns=settings_of(tmp_path)["columns"]).train == [Example("a", "b")]


# --- the public sets


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public data at {DATA}")
@pytest.mark.parametrize(
    ("folder", "columns", "sizes", "first"),
    [
        ("g2p/eng_us", "", (33_344, 4168), Example("aa", "ɑ ɑ")),
        ("g2p/hbs_latn", "", (8000, 1000), Example("abdest", "ǎ b d e s t")),
        ("g2p/ita", "", (800, 100), Example("abbandonato", "a b b a n d o n a t o")),
        ("g2p/lav", "", (800, 100), Example("abate", "a b a t ɛ")),
        ("g2p/wel_sw", "", (800, 100), Example("abaty", "a b a t i")),
        ("transliteration/hi", "target,source,weight", (44_204, 4358), Example("an", "अं", "", 3.0)),
        ("transliteration/ta", "target,source,weight", (68_218, 6827), None),
        (
            "inflection/eng",
            "source,features,target",
            (10_000, 1000),
            Example("'it", "'it", "V;NFIN"),
        ),
        ("inflection/swa", "source,features,target", (10_000, 1000), None),
        ("inflection/hye", "source,features,target", (10_000, 1000), None),
        ("inflection/ita", "source,features,target", (10_000, 1000), None),
        ("normalisation/sl_bohoric", "", (60_811, 7131), Example("toraj", "torej")),
    ],
)
def test_public_sets(
    folder: str, columns: str, sizes: tuple[int, int], first: Example | None
) -> None:
    dataset = load(DATA / folder, columns=columns)
    assert (len(dataset.train), len(dataset.dev)) == sizes
    assert first is None or dataset.train[0] == first
    is_unimorph = columns == "source,features,target"
    assert dataset.problems == [
        f"{path}: a UniMorph table" for path in dataset.files.values() if is_unimorph
    ]


# --- many rows


@pytest.mark.parametrize("columns", ["", "source,target,weight", "source,features,target"])
def test_many_rows_are_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    third = {"": "", "source,target,weight": "\t{}.5"}.get(columns, "\tV;{}")
    lines = [f"w{i % 97}é\tT{i}{third.format(i % 3)}\n" + "\n" * (i == 9) for i in range(400)]
    path = put(tmp_path, "all.tsv", "".join(lines))
    few = load(path, columns=columns)
    for name, value in (
        ("storage.MAX_OBJECTS", 16),
        ("storage.READ_ROWS", 50),
        ("storage.MAX_IN_MEMORY", 256),
    ):
        monkeypatch.setattr(f"charseq.data.{name}", value)
    many = load(path, columns=columns)
    assert isinstance(many.train, PackedRecords)
    assert (many.train, many.dev, many.test) == (few.train, few.dev, few.test)
    assert {name: list(found) for name, found in many.lines.items()} == few.lines
    assert (many.problems, many.fingerprint) == (few.problems, few.fingerprint)
    weights = [one.weight for one in few.train]
    assert (
        [1.0] * len(weights) if many.train.weights is None else many.train.weights.tolist()
    ) == weights


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), st.integers(0, 30))
def test_whole_sources_are_held_out_by_their_hash(sources: list[str], most: int) -> None:
    rows = [Example(source, "t") for source in sources]
    sizes = np.ones(len(sources), dtype=np.uint32)
    part = examples.Part(Path("x"), "", rows, [*range(len(sources))], sizes)
    ranked = sorted(set(sources), key=splits.hash_key)
    chosen: list[str] = []
    held = 0
    for source in ranked[:-1]:
        held += sources.count(source)
        if chosen and (splits.hash_key(source) >= 0.3 * 2**64 or held > most):
            break
        chosen.append(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "HELD_OUT", 0.3)
        patch.setattr(splits, "MAX_HELD_OUT", most)
        found = part.divide(("train", "dev"))
    assert [one.source for one in found["dev"].examples] == [s for s in sources if s in chosen]
    rest = [s for s in sources if s not in chosen]
    assert [one.source for one in found["train"].examples] == rest
    assert sorted([*found["train"].lines, *found["dev"].lines]) == part.lines


# --- rows out of all proportion


def of_lengths(folder: Path, *lengths: int) -> Dataset:
    put(folder, "train.tsv", "".join(f"{'a' * n}\t{'b' * (n // 2 + 1)}\n" for n in lengths))
    put(folder, "dev.tsv", "x\ty\n")
    return load(folder)


def test_a_pair_out_of_all_proportion_is_named_with_its_line(tmp_path: Path) -> None:
    found = of_lengths(tmp_path, 3, 5, 300, 4, 7)
    (problem,) = found.problems
    assert problem == (
        f"{tmp_path}/train.tsv:3: 300 characters, half of the pairs have at most 5: it takes much "
        "time; if the line is not meant, split it or remove it"
    )
    assert found.trainable() is found


def test_long_pairs_among_long_pairs_are_none(tmp_path: Path) -> None:
    assert of_lengths(tmp_path, 256, 2, 3).problems == []
    assert of_lengths(tmp_path, 100, 400, 90, 110).problems == []
    assert of_lengths(tmp_path, *[5000] * 4).too_long == ()


def test_a_pair_that_is_too_long_to_be_trained_on_is_left_out_and_said_so(tmp_path: Path) -> None:
    found = of_lengths(tmp_path, 3, 5000, 4, 4096, 5, 9000, 6)
    assert "train.tsv:6: 9,000 characters, half" in found.problems[0]
    assert "(3 pairs of more than 256)" in found.problems[0]
    assert found.problems[1:] == ["2 pairs of more than 4,096 left out of training"]
    assert len(found.train) == 7, "an evaluation has all rows"
    kept = found.trainable()
    assert [len(one.source) for one in kept.train] == [3, 4, 4096, 5, 6]
    assert kept.lines["train"] == [1, 3, 4, 5, 7]
    assert kept.dev == found.dev
    assert kept.trainable() is kept


def test_outliers_of_a_file_that_is_divided_are_those_of_its_splits(tmp_path: Path) -> None:
    lines = [f"{chr(97 + n % 26)}{n}\tx\n" for n in range(99)] + ["q" * 5000 + "\tx\n"]
    found = load(put(tmp_path, "all.tsv", "".join(lines)))
    assert any("all.tsv:100: 5,000 characters" in problem for problem in found.problems)
    sizes = {name: [len(one.source) for one in found.split(name)] for name in splits.SPLITS}
    (split,) = [name for name, given in sizes.items() if max(given) == 5000]
    assert len(found.too_long) == (split == "train")


# --- dictionaries


@pytest.mark.parametrize("columns", ["", "source,target", "source,weight,target"])
def test_probabilities_of_a_dictionary_are_weights(tmp_path: Path, columns: str) -> None:
    path = tmp_path / "lexiconp.txt"
    path.write_text("a 0.8 AH0\na 0.2 EY1\nb 1.0 B IY1\n")
    found = read_file(path, columns=columns)
    assert found.examples == [
        Example("a", "AH0", "", 0.8), Example("a", "EY1", "", 0.2), Example("b", "B IY1"),
    ]  # fmt: skip
    assert found.notes[0] == (
        "a Kaldi lexicon with probabilities, 3 pronunciations of 2 words (probabilities as weights)"
    )
    assert found.columns == "source = column 1, weight = column 2, target = column 3"


def test_a_dictionary_is_read_from_either_side(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("a AH0\na EY1\nb B IY1\n")
    found = read_file(path, columns="target,source")
    assert found.examples == [Example("AH0", "a"), Example("EY1", "a"), Example("B IY1", "b")]
    assert found.notes[0] == "a Kaldi lexicon, 3 pronunciations of 2 words"
    path.write_text("a AH0\na EY1\nb B IY1\n", encoding="utf-16")
    (note,) = read_file(path).notes
    assert note == "read as UTF-16-LE; a Kaldi lexicon, 3 pronunciations of 2 words"
    path.write_text("a AH0\na EY1\nb B IY1\n")
    dataset = load(path, splits=["train"])
    assert f"{path}: a Kaldi lexicon, 3 pronunciations of 2 words" in dataset.problems


def test_unimorph_needs_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "eng"
    path.write_text("walk\twalked\tV;PST\nox\toxen\tN;PL\n")
    expected = [Example("walk", "walked", "V;PST"), Example("ox", "oxen", "N;PL")]
    found = read_file(path)
    assert found.examples == expected
    assert found.columns == "source = column 1, target = column 2, features = column 3"
    assert read_file(path, columns="source,target,features").examples == expected
    path.write_text("walk\tV;PST\twalked\nox\tN;PL\toxen\n")
    assert read_file(path).examples == expected


# --- the separator of features


def test_the_separator_of_features_is_found_or_given(tmp_path: Path) -> None:
    text = "".join(f"w{n}\tpos=V,per={n % 3}\tx\n" for n in range(40))
    path = put(tmp_path, "all.tsv", text)
    roles = "source,features,target"
    for splits_ in (("train",), ("train", "dev"), ("dev",)):
        found = load(path, columns=roles, splits=splits_)
        assert found.feature_separator == ","
    assert load(path, columns=roles, feature_separator=";").feature_separator == ";"
    assert load(path, columns="source,skip,target").feature_separator == ";"


def test_lists_are_joined_and_their_features_not_cut(tmp_path: Path) -> None:
    lines = [{"source": "a", "features": [f"N+{n}", "x,y"], "target": "b"} for n in range(3)]
    path = put(tmp_path, "train.jsonl", "".join(json.dumps(one) + "\n" for one in lines))
    put(tmp_path, "dev.jsonl", json.dumps(lines[0]) + "\n")
    found = load(tmp_path)
    assert found.feature_separator == ";"
    assert [one.features for one in found.train] == ["N+0;x,y", "N+1;x,y", "N+2;x,y"]
    message = "train.jsonl:2: the feature 'N+1' has '+' in it, which joins the features of a list"
    lines[0]["features"] = ["N"]
    put(tmp_path, "train.jsonl", "".join(json.dumps(one) + "\n" for one in lines))
    with pytest.raises(DataError, match=re.escape(message)):
        load(tmp_path, feature_separator="+")
    assert read_file(path).examples[1].features == "N+1;x,y"
