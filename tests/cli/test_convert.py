"""``charseq convert``: files rewritten, and the arguments of the conversion."""

import importlib
import io
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from world import LexiconModel, Upper, World

from charseq.cli import convert
from charseq.data.formats import reader
from charseq.data.formats.delimited import Tsv
from charseq.distributed import ray_tasks


def test_all_options_are_passed_on(world: World, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    def convert(model: Upper, path: str, out: str, **options: Any) -> Any:
        options.pop("report")(f"{path}: 3 rows")
        assert options.pop("kept_for").endswith(repr(model))
        options.pop("progress")(3, 9)
        calls.append((model, path, out, options))
        return SimpleNamespace(rejected=0)

    world.replace("inference.convert", convert=convert)
    world.replace(
        "data.formats.writer", targets=lambda paths, out, _ending: [f"{out}/{p}" for p in paths]
    )
    words = shlex.split(
        "convert a.csv b.csv -o OUT -m RUN --column 2 --to iso -n 3 --beam 4 --batch-size 7 "
        "--format TSV --header no --delimiter semicolon --encoding cp1252 --force --scores "
        "--threshold 0.9 --align"
    )
    assert world.run(*words) == (0, "", "a.csv: 3 rows\nb.csv: 3 rows\n")
    options = {
        "column": "2", "to": "iso", "to_format": None, "n": 3, "beam": 4, "mass": None,
        "scores": True, "batch_size": 7, "format": "tsv", "header": "no", "delimiter": "semicolon",
        "encoding": "cp1252", "force": True, "threshold": 0.9, "review": None, "align": True,
    }  # fmt: skip
    assert calls == [
        (world.model, "a.csv", "OUT/a.csv", options),
        (world.model, "b.csv", "OUT/b.csv", options),
    ]
    assert world.loaded == ["RUN"]
    assert world.run(*words, "--quiet") == (0, "", "")


def test_jobs_are_the_processes(world: World, tmp_path: Path) -> None:
    asked: list[tuple[Any, int, Mapping[str, Any]]] = []

    @contextmanager
    def sharing(model: Any, jobs: int, known: str, how: Mapping[str, Any]) -> Iterator[Any]:
        asked.append((model, jobs, how))
        yield model

    importlib.import_module("charseq.inference.convert")  # which needs more of the pool
    world.replace("inference.pool", sharing=sharing)
    (tmp_path / "words.txt").write_text("a\n")
    words = ["convert", "-q", str(tmp_path / "words.txt"), "-o", "-"]
    assert world.run(*words)[0] == world.run(*words, "--jobs", "3")[0] == 0
    assert [(model, jobs) for model, jobs, _ in asked] == [(world.model, 0), (world.model, 3)]
    assert world.run(*words, "--jobs", "-1")[0] == 2


def test_a_file_is_rewritten(world: World, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n", encoding="utf-8")
    code, out, _ = world.run("convert", str(tmp_path / "words.txt"))
    assert (code, out) == (0, "")
    assert (tmp_path / "words.converted.txt").read_text(encoding="utf-8") == "A\nB\n"
    code, _, err = world.run("convert", str(tmp_path / "words.txt"))
    assert code == 2
    assert "--force" in err
    code, _, err = world.run("convert", str(tmp_path / "nothing.txt"), "-o", "-")
    assert code == 1
    assert err.count("\n") == 1
    assert "nothing.txt" in err


def test_mass_adds_a_column_for_each_candidate_of_the_beam(world: World, tmp_path: Path) -> None:
    world.model = LexiconModel()
    (tmp_path / "a.csv").write_text("word\nown\n", encoding="utf-8")
    code, out, _ = world.run("convert", "--mass", "0.9", str(tmp_path / "a.csv"), "-o", "-", "-q")
    assert (code, out) == (
        0, "word,prediction,prediction_2,prediction_3,prediction_note\nown,OWN,b,,lexicon\n",
    )  # fmt: skip


def test_rows_below_the_threshold_go_to_a_review_file(world: World, tmp_path: Path) -> None:
    world.model = LexiconModel()
    (tmp_path / "words.txt").write_text("a\nown\na\n")
    out, review = tmp_path / "out.txt", tmp_path / "r.tsv"
    words = ["convert", str(tmp_path / "words.txt"), "-o", str(out), "--threshold", "0.7"]
    code, _, err = world.run(*words, "--review", str(review))
    assert (code, out.read_text()) == (0, "\nOWN\n\n")
    assert "2 rows unsure, without an answer" in err
    assert f"1 source to review -> {review}" in err
    assert review.read_text().splitlines()[1].split("\t")[:4] == ["a", "", "A", "0.600000"]


def test_several_files_have_no_review_file_in_common(world: World, tmp_path: Path) -> None:
    words = ["convert", "a.txt", "b.txt", "-o", str(tmp_path), "--threshold", "0.9"]
    told = "charseq: error: 2 files cannot go to one --review: convert them apart\n"
    assert world.run(*words, "--review", "r.csv") == (2, "", told)


def test_a_format_can_be_named_as_soon_as_it_is_registered(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "words.list"
    path.write_text("a\tb\n", encoding="utf-8")
    words = ["convert", "-q", str(path), "-o", "-", "--format"]
    code, _, err = world.run(*words, "tabs")
    assert (code, "'tabs' is not one of 'auto', 'text', 'tsv'" in err) == (2, True)
    monkeypatch.setitem(reader.FORMATS, "tabs", Tsv())
    assert world.run(*words, "tabs")[:2] == (0, "a\tb\tA\t\n")
    assert "|tabs]" in world.run("convert", "--help")[1]


def test_a_column_is_named_once(world: World, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,word\n1,a\n")
    for option in ("--column", "--to"):
        code, out, err = world.run("convert", str(path), option, "1", option, "2")
        assert (code, out) == (2, "")
        assert f"{option} is given 2 times, '1' and '2': expected once" in err
    assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]


def test_what_was_decided_about_a_file_is_told(world: World, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("id;ort;preis\r\n1;k\xf6ln;1,50\r\n".encode("cp1252"))
    code, out, err = world.run("convert", str(path), "--column", "Ort", "-o", str(tmp_path / "b"))
    assert (code, out) == (0, "")
    assert (tmp_path / "b").read_bytes() == (
        "id;ort;preis;prediction;prediction_note\r\n1;k\xf6ln;1,50;K\xd6LN;\r\n".encode("cp1252")
    )
    encoding = "read as cp1252, since it is not UTF-8 (encoding names another)"
    delimiter = "the delimiter is the semicolon (delimiter names another)"
    assert err.splitlines()[:3] == [
        f"{path}: {encoding}; {delimiter}",
        f"{path}: new columns prediction, prediction_note",
        f"{path}: column 2 (ort)",
    ]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.XZ", "csv.bz2", "xlsx"])
def test_the_time_left_is_told_where_bytes_on_disk_are_those_of_rows(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(bytes(99))
    assert convert._size(str(path), "auto") == (99 if ending == "csv" else None)
    assert convert._size("-", "csv") is None


def test_a_lexicon_is_written(world: World, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("quay\nharbour\nquay\n")
    code, out, err = world.run("convert", str(words), "--to-format", "cmudict")
    made = tmp_path / "words.converted.dict"
    assert (code, out) == (0, "")
    assert f"{words}: 2 texts, 2 entries (CMUdict dictionary) -> {made}" in err
    assert made.read_text() == "quay  QUAY\nharbour  HARBOUR\n"
    code, out, err = world.run("convert", str(words), "--to-format", "kaldi", "--to", "iso")
    assert (code, out) == (2, "")
    assert "--to names a new column, and a lexicon has none" in err
    code, out, err = world.run("convert", str(words), "--to-format", "kaldi", "--scores")
    assert (code, out) == (2, "")
    assert "--scores adds columns: lexica have probabilities where their format does" in err


def test_a_lexicon_is_converted_to_one_of_its_format(world: World, tmp_path: Path) -> None:
    words = tmp_path / "lexicon.txt"
    words.write_text("quay K IY1\nquay K EY1\nsea S IY1\n")
    code, out, err = world.run("convert", str(words), "-o", "-")
    assert (code, out) == (0, "quay QUAY\nsea SEA\n")
    assert err.startswith(f"{words}: a Kaldi lexicon\n")


DICTIONARIES = {
    "cmudict": ("quay  K IY1\nquay(1)  K EY1\nsea  S IY1\n", "quay  QUAY\nsea  SEA\n"),
    "kaldi": ("quay K IY1\nquay K EY1\nsea S IY1\n", "quay QUAY\nsea SEA\n"),
    "kaldip": ("quay 0.5 K IY1\nsea 1.0 S IY1\n", "quay 1 QUAY\nsea 1 SEA\n"),
    "mfa": ("quay\t0.5\tK IY1\nsea\t1\tS IY1\n", "quay\t1\tQUAY\nsea\t1\tSEA\n"),
}


@pytest.mark.parametrize("kind", DICTIONARIES)
def test_a_dictionary_on_stdin_is_recognised(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content, expected = DICTIONARIES[kind]
    for given in ([], ["--format", kind], ["--to-format", kind]):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
        code, out, err = world.run("convert", "-", *given)
        assert (code, out) == (0, expected)
        assert "stdin: 2 texts, 2 entries" in err
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    code, out, err = world.run("convert", "-", "--to", "iso")
    assert (code, out) == (2, "")
    assert "(stdin is read as a " in err
    assert "--format tsv adds columns to its lines)" in err


def folder_report(**changes: Any) -> Any:
    """The report of a cluster that has converted everything, but for the changes."""
    return SimpleNamespace(**{"faults": {}, "rejected": []} | changes)


def test_a_cluster_gets_folders_and_the_same_options(world: World, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("a\n1\n", encoding="utf-8")
    out, calls = str(tmp_path / "out"), list[Any]()

    def convert_folders(model: Upper, inputs: Any, out: str, **options: Any) -> Any:
        options.pop("report")("out: 3 rows")
        options.pop("progress")(3, 9)
        calls.append((model, inputs, out, options))
        return folder_report()

    world.patch.setattr(ray_tasks, "convert_folders", convert_folders)
    words = ["convert", str(tmp_path / "in"), "-o", out, "--engine", "ray", "--jobs", "3"]
    words += ["--address", "auto", "--column", "a", "-n", "2", "--threshold", "0.5", "--force"]
    assert world.run(*words) == (0, "", "out: 3 rows\n")
    options = {
        "column": "a", "to": None, "to_format": None, "n": 2, "beam": None, "mass": None,
        "scores": False, "align": False, "batch_size": 256, "format": "auto", "header": "auto",
        "delimiter": "auto", "encoding": "auto", "force": True, "threshold": 0.5, "review": None,
        "jobs": 3, "address": "auto",
    }  # fmt: skip
    assert calls == [(world.model, (str(tmp_path / "in"),), out, options)]


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ({"faults": {"a": "a:1: wrong"}}, "charseq: error: a:1: wrong\n"),
        (
            {"faults": {"a": "a:1: wrong", "b": "b:2: wrong"}},
            "a:1: wrong\nb:2: wrong\ncharseq: error: 2 files are not converted: see above\n",
        ),
        (
            {"rejected": [Path("a.rejects.jsonl")]},
            "charseq: error: rows were rejected in 1 file: a.rejects.jsonl\n",
        ),
    ],
)
def test_faults_of_a_cluster_are_told(
    world: World, tmp_path: Path, report: dict[str, Any], told: str
) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n", encoding="utf-8")
    world.patch.setattr(ray_tasks, "convert_folders", lambda *_, **__: folder_report(**report))
    words = ["convert", str(tmp_path / "a.csv"), "-o", str(tmp_path / "out"), "--engine", "ray"]
    assert world.run(*words) == (1, "", told)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["-o", "out", "--address", "auto"], "--address is for --engine ray"),
        (["--engine", "ray"], "-o names a folder"),
        (["--engine", "ray", "-o", "out", "--to-format", "kaldi"], "--to-format makes one file"),
        (["--engine", "ray", "-o", "out", "--device", "cuda"], "compute on CPUs"),
        (["--engine", "spark", "-o", "out"], "--engine"),
    ],
)
def test_options_that_a_cluster_cannot_keep_are_refused(
    world: World, more: list[str], told: str
) -> None:
    code, _, err = world.run("convert", "a.csv", *more)
    assert code == 2
    assert told in err
