"""Pronouncing dictionaries and UniMorph: recognised by their lines, and by nothing else's lines."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path

import pytest

from charseq.data.formats.lexica import (
    CmuDict,
    Dictionary,
    Entry,
    Kaldi,
    KaldiWithProbabilities,
    Mfa,
)
from charseq.data.formats.reader import detect, read_table
from charseq.data.formats.writer import replacing, writing
from charseq.data.pairs import load
from charseq.errors import DataError, UsageError

KALDI = "!SIL SIL\nharbour HH AA1 R B ER0\nharbour HH AH1 R B ER0\nlantern L AE1 N T ER0\n"
KALDI_P = "harbour 0.8 HH AA1 R B ER0\nharbour 0.2\tHH AH1 R B ER0\nlantern 1.0 L AE1 N T ER0\n"
CMUDICT = (
    ";;; a pronouncing dictionary\n"
    "HARBOUR  HH AA1 R B ER0\n"
    "HARBOUR(1)  HH AH1 R B ER0\n"
    "LANTERN  L AE1 N T ER0 # a lamp\n"
    "#HASH-MARK  HH AE1 SH M AA2 R K\n"
    "'TIS  T IH1 Z\n"
)
MFA = (
    "harbour\t0.99\t0.25\t1.1\t0.9\tHH AA1 R B ER0\n"
    "harbour\t0.4\tHH AH1 R B ER0\n"
    "lantern\tL AE1 N T ER0\n"
)
UNIMORPH = "walk\twalked\tV;PST\nwalk\twalking\tV.PTCP;PRS\nox\toxen\tN;PL\n"
FORMATS: dict[str, Dictionary] = {
    one.name: one for one in (Kaldi(), KaldiWithProbabilities(), CmuDict(), Mfa())
}


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    data = content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows(path: Path) -> list[tuple[int, tuple[str, ...]]]:
    return [(row.line, row.cells) for row in read_table(path).rows]


def ipa(count: int) -> str:
    """Words of a spelling that says how they sound, in another set of phones."""
    spelt = [f"{a}{b}{c}{d}" for a in "ptkbdg" for b in "aiu" for c in "mnls" for d in "eo"]
    return "".join(f"{word} {' '.join(word)}ː\n" for word in spelt[:count])


# --- read


def test_the_entries_of_each_format(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "lexicon.txt", KALDI)) == [
        (1, ("!SIL", "SIL")),
        (2, ("harbour", "HH AA1 R B ER0")),
        (3, ("harbour", "HH AH1 R B ER0")),
        (4, ("lantern", "L AE1 N T ER0")),
    ]
    assert rows(write(tmp_path, "p.txt", KALDI_P)) == [
        (1, ("harbour", "0.8", "HH AA1 R B ER0")),
        (2, ("harbour", "0.2", "HH AH1 R B ER0")),
        (3, ("lantern", "1.0", "L AE1 N T ER0")),
    ]
    assert rows(write(tmp_path, "raw.dict", CMUDICT)) == [
        (2, ("HARBOUR", "HH AA1 R B ER0")),
        (3, ("HARBOUR", "HH AH1 R B ER0")),
        (4, ("LANTERN", "L AE1 N T ER0")),
        (5, ("#HASH-MARK", "HH AE1 SH M AA2 R K")),
        (6, ("'TIS", "T IH1 Z")),
    ]
    assert rows(write(tmp_path, "mfa.dict", MFA)) == [
        (1, ("harbour", "0.99", "HH AA1 R B ER0")),
        (2, ("harbour", "0.4", "HH AH1 R B ER0")),
        (3, ("lantern", "1", "L AE1 N T ER0")),
    ]


def test_columns_are_named_as_their_roles_and_the_format_is_noted(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "p.txt", KALDI_P))
    assert table.header == ("source", "weight", "target")
    assert table.note == "a Kaldi lexicon with probabilities"
    table = read_table(write(tmp_path, "a.dict.gz", CMUDICT))
    assert table.header == ("source", "target")
    assert table.note == "a CMUdict dictionary without its comments, WORD(1) read as WORD"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (UNIMORPH, ("source", "target", "features")),
        ("walk\tV;PST\twalked\nox\tN;PL\toxen\n", ("source", "features", "target")),
        ("ox\toxen\tN;PL\tox|en\n", ("source", "target", "features", "segmentation")),
    ],
)
def test_unimorph_is_a_table_whose_features_are_found(
    tmp_path: Path, content: str, names: tuple[str, ...]
) -> None:
    table = read_table(write(tmp_path, "eng", content))
    assert (table.format.name, table.header, table.note) == ("unimorph", names, "a UniMorph table")
    assert b"".join(row.raw for row in table.rows) == content.encode()


def test_blank_lines_are_told_from_comments(tmp_path: Path) -> None:
    path = write(tmp_path, "a.dict", ";;; one\n\nA  AH0\n## two\n \nB  B IY1\n")
    assert rows(path) == [(2, ()), (3, ("A", "AH0")), (5, ()), (6, ("B", "B IY1"))]


@pytest.mark.parametrize(
    ("name", "start", "fault", "message"),
    [
        ("a.txt", KALDI, "quay\n", "'quay', expected a word and phones"),
        ("p.txt", KALDI_P, "quay K IY1\n", "'quay K IY1', expected a word, its probability"),
        ("a.dict", CMUDICT, "QUAY # none\n", "'QUAY # none', expected a word and phones"),
        ("m.dict", MFA, "quay\t0.1\t0.2\tK IY1\n", "expected a word, phones, and between them"),
        ("m.dict", MFA, "quay\thigh\tK IY1\n", "expected a word, phones, and between them"),
    ],
)
def test_a_line_that_is_no_entry_names_itself(
    tmp_path: Path, name: str, start: str, fault: str, message: str
) -> None:
    kind = detect(write(tmp_path, name, start)).name
    path = write(tmp_path, name, start + fault)
    line = start.count("\n") + 1
    with pytest.raises(DataError, match=rf"{name}:{line}: .*{message}"):
        list(read_table(path, format=kind).rows)
    found = list(read_table(path, format=kind, faulty=True).rows)
    assert found[-1].fault
    assert found[-1].raw == fault.encode()


# --- recognised


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("lexicon.txt", KALDI, "kaldi"),
        ("train.txt", KALDI, "kaldi"),
        ("words", KALDI.replace("harbour ", "harbour\t"), "kaldi"),
        ("lexiconp.txt", KALDI_P, "kaldip"),
        ("x.txt.gz", KALDI_P, "kaldip"),
        ("cmudict-0.7b", CMUDICT, "cmudict"),
        ("cmudict.dict", "a AH0\na(2) EY1\nquay K IY1\n", "cmudict"),
        ("mfa.dict", MFA, "mfa"),
        ("mfa.dict", "lantern\tL AE1 N T ER0\n", "mfa"),
        ("english.txt", MFA, "mfa"),
        ("lexicon.txt", ipa(3), "kaldi"),
        ("my_lexicon.lex", ipa(3), "kaldi"),
        ("ipa.txt", ipa(80), "kaldi"),
        ("eng.txt", UNIMORPH, "unimorph"),
        ("eng.tsv", UNIMORPH, "unimorph"),
    ],
)
def test_a_lexicon_is_recognised(tmp_path: Path, name: str, content: str, expected: str) -> None:
    path = write(tmp_path, name, content)
    assert detect(path).name == read_table(path).format.name == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "The harbour was cold.\nA lantern burned.\n" * 40, "text"),
        ("a.txt", "I SEE A SHIP\nTHE SHIP IS OLD\n", "text"),
        ("a.txt", "a b c d\nb c d a\n" * 60, "text"),
        ("a.txt", "Vitamin D\nVitamin B\n", "text"),
        ("a.txt", ipa(20), "text"),
        ("a.txt", "".join(f"the cat sat on mat {n % 7}\n" for n in range(99)), "text"),
        ("lexicon.txt", "harbour\nlantern\n", "text"),
        ("lexicon.txt", "1 Jan 2020\t2020-01-01\n2 Feb 2021\t2021-02-02\n", "tsv"),
        ("lexicon.txt", "hello\tworld\n", "tsv"),
        ("words.tsv", KALDI.replace(" ", "\t", 1), "tsv"),
        ("scores.txt", "walk\t0.5\twalking quickly onwards\n", "tsv"),
        ("forms.tsv", "walk\twalked\tPST\nox\toxen\tPL\n", "tsv"),
        ("forms.tsv", "V\tV\tV;PST\nN\tN\tN;PL\n", "tsv"),
        ("a.csv", KALDI, "csv"),
        ("empty.txt", "", "text"),
    ],
)
def test_other_files_are_no_lexica(tmp_path: Path, name: str, content: str, expected: str) -> None:
    assert detect(write(tmp_path, name, content)).name == expected


@pytest.mark.parametrize("name", ["a.txt.xz", "lexicon.txt"])
def test_a_dictionary_is_recognised_packed_and_in_another_encoding(
    tmp_path: Path, name: str
) -> None:
    path, packed = tmp_path / name, name.endswith(".xz")
    content = (KALDI + "quay\n").encode("utf-16")
    path.write_bytes(lzma.compress(content) if packed else content)
    table = read_table(path, format="kaldi", faulty=True)
    assert table.note == "read as UTF-16-LE"
    found = list(table.rows)
    assert found[1].cells == ("harbour", "HH AA1 R B ER0")
    assert found[-1].fault
    assert b"".join(table.format.stored(row.raw) for row in found) == content
    content = KALDI.encode("utf-16")
    path.write_bytes(lzma.compress(content) if packed else content)
    assert read_table(path).note == "read as UTF-16-LE; a Kaldi lexicon"


# --- odd lines

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("PUBLIC_DATA", ROOT.parent / "shared" / "data")).parent
ARPABET = {
    "p": "P", "t": "T", "k": "K", "b": "B", "d": "D", "g": "G", "a": "AA1", "i": "IY1", "u": "UW1",
    "m": "M", "n": "N", "l": "L", "s": "S", "e": "EH0", "o": "OW0",
}  # fmt: skip
LINES = {
    "kaldi": "{0} {1}",
    "kaldip": "{0} 0.5 {1}",
    "cmudict": "{0}  {1}",
    "mfa": "{0}\t0.5\t{1}",
}


def dictionary(kind: str, count: int = 60, *, arpabet: bool = True) -> list[str]:
    """The lines of a dictionary of invented words."""
    words = [line.split(" ")[0] for line in ipa(count).splitlines()]
    names = ARPABET if arpabet else {}
    return [
        LINES[kind].format(word, " ".join(names.get(sign, sign) for sign in word)) for word in words
    ]


@pytest.mark.parametrize("arpabet", [True, False])
@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize(
    "odd",
    [
        "quay",
        "quay 0.5",
        "this line is prose",
        "A sentence that stands here for no reason, www.example.org/dictionary",
        "oops\toops\toops\toops",
        "=====================",
    ],
)
@pytest.mark.parametrize("at", [1, 30])
def test_an_odd_line_does_not_hide_a_dictionary(
    tmp_path: Path, kind: str, arpabet: bool, odd: str, at: int
) -> None:
    lines = dictionary(kind, arpabet=arpabet)
    path = write(tmp_path, "words.txt", "\n".join([*lines[:at], odd, *lines[at:]]) + "\n")
    table = read_table(path, faulty=True)
    assert table.format.name == kind
    assert table.note.endswith(f"; 1 of its first 61 lines is not like the others: '{odd[:40]}'")
    found = list(table.rows)
    assert [(row.line, row.raw) for row in found if row.fault] == [(at + 1, f"{odd}\n".encode())]
    assert sum(bool(row.cells) for row in found) == len(lines)


def test_odd_lines_are_bad_rows(tmp_path: Path) -> None:
    lines = dictionary("cmudict")
    lines[10:10] = ["quay", "this line is prose"]
    path = write(tmp_path, "words.txt", "\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}:11: 'quay', expected a word and phones (2 such rows, also line 12: 'this line is "
        "prose' is not like the other lines): bad_rows='skip' passes over such rows"
    )
    found = load(path, bad_rows="skip", splits=["train"])
    assert found.problems[0] == (
        f"{path}: a CMUdict dictionary without its comments, WORD(1) read as WORD, 60 words; "
        "2 of its first 62 lines are not like the others: 'quay'"
    )
    assert found.problems[1].startswith(f"{path}: 2 of 62 rows skipped, the first in line 11")
    assert [row.fault for row in read_table(path, format="cmudict", faulty=True).rows][11] == ""


@pytest.mark.parametrize(("count", "fewest"), [(9, 0), (10, 1), (49, 4), (80, 5)])
def test_few_lines_may_be_odd(tmp_path: Path, count: int, fewest: int) -> None:
    for odd in (fewest, fewest + 1):
        lines = [*dictionary("kaldi", count - odd), *(f"odd{n}" for n in range(odd))]
        found = detect(write(tmp_path, "words.txt", "\n".join(lines)))
        assert (found.name, len(found.odd)) == (("kaldi", odd) if odd == fewest else ("text", 0))


def test_one_line_in_a_hundred_may_be_odd(tmp_path: Path) -> None:
    lines = [*dictionary("kaldi", 72)] * 14
    for odd in (10, 11):
        path = write(tmp_path, "words.txt", "\n".join([*["quay"] * odd, *lines[: 1000 - odd]]))
        assert detect(path).name == ("kaldi" if odd == 10 else "text")


def test_words_as_phones_are_no_odd_lines_where_many_have_them(tmp_path: Path) -> None:
    lines = [f"{word} {word[:2]}ang zhong" for word in dict.fromkeys(ipa(72).split()[::5])]
    assert detect(write(tmp_path, "lexicon.txt", "\n".join(lines))).odd == ()


def test_a_single_phone_of_its_own_is_no_odd_line(tmp_path: Path) -> None:
    lines = ["<unk> GBG", "<laugh> LAUGH", *dictionary("kaldi"), "loch L AA1 XX"]
    found = detect(write(tmp_path, "lexicon.txt", "\n".join(lines)))
    assert (found.name, found.odd) == ("kaldi", ())


@pytest.mark.parametrize("kind", ["kaldi", "kaldip", "cmudict"])
def test_a_tab_in_place_of_a_space_makes_no_odd_line(tmp_path: Path, kind: str) -> None:
    lines = dictionary(kind)
    lines[40] = lines[40].replace("  ", " ").replace(" ", "\t", 1)
    table = read_table(write(tmp_path, "words.txt", "\n".join(lines)))
    assert (table.format.name, table.format.odd) == (kind, ())
    found = list(table.rows)
    assert len(found[40].cells) == len(found[39].cells)


def test_odd_lines_of_unimorph(tmp_path: Path) -> None:
    lines = [f"walk{n}\twalked{n}\tV;PST" for n in range(30)]
    lines[4:4] = ["walk walked", "V;PST\twalk\twalked"]
    lines[9:9] = ["walk\twalked\tPAST"]
    path = write(tmp_path, "eng.txt", "\n".join(lines) + "\n")
    table = read_table(path, faulty=True)
    assert table.note == (
        "a UniMorph table; 2 of its first 33 lines are not like the others: 'walk walked'"
    )
    assert table.header == ("source", "target", "features")
    assert [(row.line, row.fault) for row in table.rows if row.fault] == [
        (5, "'walk walked' is not like the other lines"),
        (6, "'V;PST\twalk\twalked' is not like the other lines"),
    ]


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("eng.tsv", ["lemma\tform\tfeatures", *[f"a{n}\tb{n}\tV;PST" for n in range(30)]], "tsv"),
        ("eng.tsv", ["a\tb\tN", *[f"a{n}\tb{n}\tV" for n in range(30)], "a\tb\tpos"], "tsv"),
        ("mfa.txt", ["word\tprob\tpron", *dictionary("mfa")], "tsv"),
        ("wiki.txt", ["New York\tn j u", *[f"{a}\t{b}" for a, _, b in
                      (line.partition(" ") for line in ipa(72).splitlines())]], "tsv"),
        ("lexicon.txt", ["An enumeration", *["the cat sat on that mat"] * 40], "text"),
    ],
)  # fmt: skip
def test_tables_and_texts_with_an_odd_line_stay_what_they_are(
    tmp_path: Path, name: str, lines: list[str], expected: str
) -> None:
    found = detect(write(tmp_path, name, "\n".join(lines) + "\n"))
    assert (found.name, found.odd) == (expected, ())


def public_samples() -> list[Path]:
    """Public files of pairs and of text, where they are."""
    public = SHARED if (SHARED / "g2p").exists() else SHARED / "data"
    return sorted(public.glob("*/*/*.t[sx]?"))


def samples() -> list[Path]:
    """Files of pairs and of text: those of the project, and the public ones."""
    own = [*(ROOT / "data").glob("*.tsv"), *(ROOT / "data").glob("*/*.txt")]
    return [*sorted(own), *public_samples()]


@pytest.mark.parametrize("path", samples(), ids=lambda path: "/".join(path.parts[-3:]))
def test_pairs_and_texts_have_no_odd_lines(tmp_path: Path, path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    is_pronunciation = "g2p" in path.parts
    for name in ("a.txt", "a", "a.tsv", "lexicon.txt"):
        found = detect(write(tmp_path, name, content))
        assert found.odd == (), name
        assert not found.holds_pairs or is_pronunciation, name


def test_the_public_samples_are_there() -> None:
    found = public_samples()
    if not found:
        pytest.skip(f"{SHARED} is absent: set PUBLIC_DATA")
    kinds = {path.parent.parent.name for path in found}
    assert kinds >= {"g2p", "inflection", "normalisation", "sentences", "transliteration"}


def test_a_format_that_was_named_is_not_told(tmp_path: Path) -> None:
    path = write(tmp_path, "lexicon.txt", KALDI)
    assert read_table(path, format="kaldi").note == ""
    assert read_table(path, format="text").note == ""
    assert read_table(write(tmp_path, "eng", UNIMORPH), format="unimorph").note == ""


def test_a_delimiter_or_a_format_that_is_given_decides(tmp_path: Path) -> None:
    path = write(tmp_path, "eng.tsv", UNIMORPH)
    assert read_table(path, delimiter="tab").format.name == "tsv"
    assert read_table(path, format="tsv").header is None
    path = write(tmp_path, "lexicon.txt", KALDI)
    assert read_table(path, format="text").note == ""


# --- written


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("kaldi", ["quay K IY1", "quay K EY1"]),
        ("kaldip", ["quay 0.75 K IY1", "quay 0.000001 K EY1"]),
        ("cmudict", ["quay  K IY1", "quay(1)  K EY1"]),
        ("mfa", ["quay\t0.75\tK IY1", "quay\t0.000001\tK EY1"]),
    ],
)
def test_entries_are_written_and_read_again(tmp_path: Path, name: str, lines: list[str]) -> None:
    entries = [Entry("quay", "K IY1", 0.75), Entry("quay", " K  EY1", 1e-9, 1)]
    content = b"".join(map(FORMATS[name].encode, entries)).decode()
    assert content.splitlines() == lines
    found = rows(write(tmp_path, "a.txt", content))
    assert [(row[0], row[-1]) for _, row in found] == [("quay", "K IY1"), ("quay", "K EY1")]


@pytest.mark.parametrize("name", FORMATS)
def test_texts_that_are_no_entry_are_refused(name: str) -> None:
    for source in ("two words", "a\tb", ""):
        with pytest.raises(DataError, match=r"is not one word, so no .* holds it"):
            FORMATS[name].encode(Entry(source, "K", 1.0))
    with pytest.raises(DataError, match="expected a word and phones"):
        FORMATS[name].encode(Entry("quay", " ", 1.0))


def test_a_dictionary_has_no_place_for_columns(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "lexicon.txt", KALDI))
    with (
        pytest.raises(UsageError, match="a Kaldi lexicon has no place for further columns"),
        replacing(tmp_path / "out.txt") as file,
        writing(table, file, ["p"]),
    ):
        pass
    assert not (tmp_path / "out.txt").exists()
