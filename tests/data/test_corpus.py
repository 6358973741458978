"""Text files: no line is lost, cut or changed; equal lines share a split; memory; faults."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import tracemalloc
from collections import Counter
from itertools import chain, islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data import corpus, settings_file
from charseq.data import pairs as examples
from charseq.data.corpus import CorpusLines, is_corpus, load, trained_reading
from charseq.data.splits import HELD_OUT, MAX_HELD_OUT, SPLITS
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CharseqError, DataError, UsageError

SENTENCES = Path(__file__).parents[2] / "data" / "sentences"
DATA = Path(os.environ.get("PUBLIC_DATA", Path(__file__).parents[3] / "shared" / "data"))


def put(folder: Path, name: str, content: str | bytes) -> Path:
    """A file of that content, packed if its name ends in .gz."""
    folder.mkdir(exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def numbered(count: int) -> str:
    return "".join(f"line {number}\n" for number in range(count))


# --- what is a corpus


@pytest.mark.parametrize(
    ("name", "content", "answer"),
    [
        ("train.txt", "I love\nmachine learning\n", True),
        ("Train.TXT", "I love\n", True),
        ("train.txt.gz", "I love\n", True),
        ("train.txt", "", True),
        ("train.txt", "a\tb\n", False),
        ("train.txt", "a\n\n \nb\tc\n", False),
        ("train.txt", "a\tb\nb\tc\nc\n", False),
        ("train.txt.gz", "a\tb\n", False),
        ("train.txt", "\n" * 5000 + "a\tb\n", False),
        ("train.txt", "a\n" * 1000 + "a\tb\n", True),
        ("train.tsv", "I love\n", False),
        ("lines.txt", "I love\n", False),
        ("train.txt", b"caf\xe9\n", True),
        ("train.md", "I love\n", False),
    ],
)
def test_a_folder_is_a_corpus_by_the_first_lines_of_its_train_file(
    tmp_path: Path, name: str, content: str | bytes, answer: bool
) -> None:
    put(tmp_path, name, content)
    assert is_corpus(tmp_path) is answer
    assert is_corpus(str(tmp_path)) is answer


def test_one_file_is_a_corpus_by_its_name_and_its_first_lines(tmp_path: Path) -> None:
    assert is_corpus(put(tmp_path, "book.txt", "I love\n"))
    assert is_corpus(put(tmp_path, "book.TXT.gz", b"I love\n"))
    assert not is_corpus(put(tmp_path, "pairs.txt", "a\tb\n"))
    assert not is_corpus(put(tmp_path, "book.csv", "I love\n"))
    assert not is_corpus(put(tmp_path, "book", "I love\n"))


def test_a_missing_file_is_no_corpus(tmp_path: Path) -> None:
    assert not is_corpus(tmp_path / "absent")
    assert not is_corpus(tmp_path / "absent.txt")
    assert not is_corpus(tmp_path)
    (tmp_path / "train.txt").mkdir()
    assert not is_corpus(tmp_path)
    assert not is_corpus("")


def test_two_files_for_train_are_no_corpus_and_loading_pairs_names_both(tmp_path: Path) -> None:
    put(tmp_path, "train.txt", "a\n")
    put(tmp_path, "train.tsv", "a\tb\n")
    assert not is_corpus(tmp_path)
    with pytest.raises(DataError, match=r"both train\.tsv and train\.txt"):
        examples.load(tmp_path)


def test_a_broken_file_is_a_corpus_and_loading_it_raises_the_fault(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(5000).hex().encode())
    (tmp_path / "train.txt.gz").write_bytes(whole[: len(whole) // 2])
    assert is_corpus(tmp_path)
    with pytest.raises(DataError, match="damaged or incomplete"):
        load(tmp_path)


# --- lines


@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
def test_lines_stand_as_they_are_in_the_file(tmp_path: Path, ending: str) -> None:
    texts = ["a b ", " c", "d\u2028e\x85f\x0bg\x0c", "h\ri", "tab\there", "null", "\u00a0é"]
    put(tmp_path, f"train{ending}", "\ufeff" + "\r\n".join(texts))
    put(tmp_path, f"validation{ending}", "\ufeffj\n")
    put(tmp_path, f"test{ending}", "k\n\ufeffl\r\n")
    found = load(tmp_path)
    assert list(found.train) == texts
    assert list(found.dev) == ["j"]
    assert list(found.test) == ["k", "\ufeffl"]
    assert [len(found.split(split)) for split in SPLITS] == [7, 1, 2]
    assert found.train.count == 7
    assert found.test.path == tmp_path / f"test{ending}"
    assert found.problems == []
    assert found.name == tmp_path.name


def test_lines_can_be_iterated_again_and_twice_at_once(tmp_path: Path) -> None:
    put(tmp_path, "train.txt", numbered(50))
    train = load(tmp_path, splits=["train"]).train
    assert list(train) == list(train)
    assert all(a == b for a, b in zip(train, train, strict=True))
    assert list(islice(train, 3)) == list(train)[:3]


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = put(tmp_path, "train.txt", "a\n\n \t\r\nb\n\u3000\n")
    put(tmp_path, "dev.txt", "\nc\n")
    found = load(tmp_path)
    assert list(found.train) == ["a", "b"]
    assert found.train.count == 2
    assert found.problems == [
        f"{path}:2: 3 blank lines passed over, this is the first",
        f"{tmp_path / 'dev.txt'}:1: 1 blank line passed over, this is the first",
    ]


def test_an_absent_split_has_no_lines(tmp_path: Path) -> None:
    put(tmp_path, "train.txt", "a\n")
    put(tmp_path, "dev.txt", "b\n")
    found = load(tmp_path)
    assert not found.test
    assert list(found.test) == []


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    put(tmp_path, "train.txt", b"\xff\n")
    put(tmp_path, "dev.txt", "b\n")
    put(tmp_path, "test.txt", "c\n")
    found = load(tmp_path, splits=["test"])
    assert (list(found.test), list(found.dev), list(found.train)) == (["c"], [], [])
    assert found.fingerprint == hashlib.sha256(b"c\n").hexdigest()
    assert list(load(tmp_path, splits=["dev"]).dev) == ["b"]


def test_the_fingerprint_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    files = [put(tmp_path, "train.txt.gz", "a\n"), put(tmp_path, "dev.txt", "b\r\n")]
    expected = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert load(tmp_path).fingerprint == expected


def test_files_are_streamed(tmp_path: Path) -> None:
    """40 MB of text in a .gz, of which a tenth is never in memory at once."""
    with gzip.open(tmp_path / "train.txt.gz", "wb", compresslevel=1) as file:
        for block in range(40):
            line = f"block {block:02d} ".encode() + b"x" * 9990 + b"\n"
            file.write(line * 100)
    put(tmp_path, "dev.txt", "a\n")
    tracemalloc.start()
    found = load(tmp_path)
    assert sum(len(line) for line in found.train) == 4000 * 9999
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.train.count == 4000
    assert peak < 20e6


def test_iterating_over_a_few_lines_reads_a_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "train.txt", numbered(20_000))
    train = load(tmp_path, splits=["train", "test"]).train
    read = []
    whole = corpus._read

    def watched(*arguments):
        for number, text in whole(*arguments):
            read.append(number)
            yield number, text

    monkeypatch.setattr(corpus, "_read", watched)
    assert len(list(islice(train, 10))) == 10
    assert len(read) < 20


# --- splits


@pytest.mark.parametrize("running", [False, True])
def test_one_file_is_divided_into_three_splits(tmp_path: Path, running: bool) -> None:
    lines = numbered(4000).splitlines()
    path = put(tmp_path, "book.txt", "\n\n".join(lines))
    found = load(path, running=running)
    parts = [list(found.train), list(found.dev), list(found.test)]
    assert sorted(chain.from_iterable(parts)) == sorted(lines)
    assert [len(part) for part in parts] == [found.split(s).count for s in SPLITS]
    assert found.name == "book"
    for part in parts:
        assert part == sorted(part, key=lines.index)
    if running:
        assert [*parts[0], *parts[1], *parts[2]] == lines
        assert [len(part) for part in parts] == [3600, 200, 200]
        assert "the last ones: train 3600, dev 200, test 200" in found.problems[-1]
    else:
        assert 3520 < len(parts[0]) < 3680
        assert 150 < len(parts[1]) < 250
        assert 150 < len(parts[2]) < 250
        assert f"by the line's hash: train {len(parts[0])}, dev" in found.problems[-1]


def test_lines_are_held_out_as_pairs_are(tmp_path: Path) -> None:
    lines = [f"s{number}" for number in range(3000)]
    text = load(put(tmp_path, "a.txt", "\n".join(lines)))
    pairs = examples.load(put(tmp_path, "a.tsv", "".join(f"{line}\tx\n" for line in lines)))
    for split in SPLITS:
        assert list(text.split(split)) == [example.source for example in pairs.split(split)]


@pytest.mark.parametrize("running", [False, True])
def test_train_gives_up_dev_where_there_is_none(tmp_path: Path, running: bool) -> None:
    put(tmp_path, "train.txt", numbered(2000))
    put(tmp_path, "test.txt", "line 0\n")
    found = load(tmp_path, running=running)
    train, dev = list(found.train), list(found.dev)
    assert list(found.test) == ["line 0"]
    assert sorted(train + dev) == sorted(numbered(2000).splitlines())
    assert (len(train), len(dev)) == (found.train.count, found.dev.count)
    assert list(load(tmp_path, splits=["dev"], running=running).dev) == dev
    how = "the last ones" if running else "by the line's hash"
    assert found.problems == [f"no dev file: {len(dev)} lines of train are held out, {how}"]
    if running:
        assert dev == [f"line {number}" for number in range(1900, 2000)]
    else:
        assert 70 < len(dev) < 130


@pytest.mark.parametrize("running", [False, True])
def test_the_number_of_held_out_lines_is_limited(tmp_path: Path, running: bool) -> None:
    put(tmp_path, "train.txt", numbered(50_000))
    found = load(tmp_path, running=running)
    assert MAX_HELD_OUT - 20 < found.dev.count <= MAX_HELD_OUT
    assert found.train.count + found.dev.count == 50_000
    assert HELD_OUT * 50_000 > MAX_HELD_OUT


def test_equal_lines_stay_in_one_split_and_keep_it_when_others_come(tmp_path: Path) -> None:
    lines = [f"line {number % 300} é" for number in range(900)]
    before = load(put(tmp_path, "a.txt", "\n".join(lines)))
    decomposed = [line.replace("é", "e\u0301") for line in lines]
    after = load(put(tmp_path, "b.txt", "\n".join([*decomposed, *numbered(900).splitlines()])))
    parts = {split: set(before.split(split)) for split in SPLITS}
    assert sum(map(len, parts.values())) == 300
    for split, part in parts.items():
        found = {line.replace("e\u0301", "é") for line in after.split(split) if "e\u0301" in line}
        assert found == part


@settings(max_examples=60)
@given(texts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12), running=st.booleans())
def test_no_line_of_a_small_file_is_lost_and_train_is_never_empty(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], running: bool
) -> None:
    folder = tmp_path_factory.mktemp("few")
    one = load(put(folder, "a.txt", "\n".join(texts)), running=running)
    (folder / "train.txt").write_text("\n".join(texts), encoding="utf-8")
    two = load(folder, running=running)
    for found in (one, two):
        parts = [list(found.train), list(found.dev), list(found.test)]
        assert sorted(chain.from_iterable(parts)) == sorted(texts)
        assert list(map(len, parts)) == [found.split(s).count for s in SPLITS]
        assert found.train.count
        if len(set(texts)) > 2:
            assert found.dev.count
    if len(set(texts)) > 2:
        assert one.test.count


def test_one_line_repeated_is_all_train(tmp_path: Path) -> None:
    put(tmp_path, "train.txt", "a\n" * 5000)
    found = load(tmp_path)
    assert (found.train.count, found.dev.count) == (5000, 0)


# --- faults


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"train\.txt: no lines in it"),
        ("\n \n", r"train\.txt: no lines in it"),
        (b"a\n\nb\x8f\n", r"train\.txt:3: byte 0x8f at column 2 is not UTF-8"),
        (b"a\rb\r", r"train\.txt:1: lines end in CR alone"),
        ("a\nb\0c\n", r"train\.txt:2: a NUL byte"),
    ],
)
def test_wrong_files_are_refused_with_their_place(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    put(tmp_path, "train.txt", content)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_half_a_gz_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "train.txt.gz", os.urandom(300_000).hex())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"train\.txt\.gz: the \.gz is damaged or incomplete"):
        load(tmp_path)


def test_a_missing_folder_file_or_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such file or folder"):
        load(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no train file, expected train\.txt"):
        load(tmp_path)
    put(tmp_path, "test.txt", "a\n")
    assert list(load(tmp_path, splits=["test"]).test) == ["a"]
    with pytest.raises(DataError, match="no train file"):
        load(tmp_path, splits=["dev"])
    put(tmp_path, "train.txt", "a\n")
    (tmp_path / "test.txt").unlink()
    with pytest.raises(DataError, match="no lines for the test split"):
        load(tmp_path, splits=["test"])
    with pytest.raises(DataError, match="no lines for the dev split"):
        load(tmp_path, splits=["dev"])
    put(tmp_path, "train.txt.gz", "a\n")
    with pytest.raises(DataError, match=r"both train\.txt and train\.txt\.gz"):
        load(tmp_path)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "train.txt", "a\n")
    with pytest.raises(UsageError, match="unknown split 'valid'"):
        load(tmp_path, splits=["valid"])
    with pytest.raises(UsageError, match="unknown split 'all'"):
        load(tmp_path).split("all")


@settings(max_examples=100)
@given(content=st.binary(max_size=40))
def test_any_bytes_are_lines_or_a_fault_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "train.txt"
    path.write_bytes(content)
    is_corpus(path)
    try:
        found = load(path, encoding="utf-8")
    except CharseqError as fault:
        told = str(fault)
        assert re.match(re.escape(str(path)), told)
        assert "\n" not in told
        return
    lines = content.decode().removeprefix("\ufeff").split("\n")
    expected = [line.removesuffix("\r") for line in lines if line.strip()]
    assert sorted([*found.train, *found.dev, *found.test]) == sorted(expected)


# --- the sets themselves


def sentences() -> dict[str, list[str]]:
    found = load(SENTENCES)
    return {split: list(found.split(split)) for split in SPLITS}


def plain(sentence: str) -> tuple[str, ...]:
    """Its words without case and signs."""
    letters = sentence.lower().replace("-", " ").replace("'", "")
    return tuple(re.sub(r"[^a-z0-9]", " ", letters).split())


def test_the_sentences_are_a_corpus_of_its_own_settings() -> None:
    assert is_corpus(SENTENCES)
    assert load(SENTENCES).problems == []
    assert settings_file.settings_of(SENTENCES) == {"punctuation": "split"}


def test_the_sentences_are_clean_and_the_one_is_there_to_be_learnt() -> None:
    parts = sentences()
    assert "I love machine learning." in parts["train"]
    lines = list(chain.from_iterable(parts.values()))
    assert len(lines) >= 3000
    for line in lines:
        assert line.isascii()
        assert re.fullmatch(r"[A-Z][A-Za-z0-9',:.?! -]*[.?!]", line)
        assert "  " not in line


def test_no_two_sentences_are_the_same_or_differ_by_one_word() -> None:
    words = [plain(line) for part in sentences().values() for line in part]
    assert len(set(words)) == len(words)
    # What is left of a sentence without one of its words, and where that word stood.
    left: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    replaced: set[tuple[tuple[str, ...], int]] = set()
    for sentence in words:
        for place in range(len(sentence)):
            rest = sentence[:place] + sentence[place + 1 :]
            left.setdefault(rest, set()).add(sentence)
            assert (rest, place) not in replaced, sentence
            replaced.add((rest, place))
    assert not [sentence for sentence in words if sentence in left]


def test_the_card_says_what_is_there() -> None:
    card = (SENTENCES / "README.md").read_text(encoding="utf-8")
    units = Tokenizer(Vocabulary("spaced", "NFC", "NFC", ()), punctuation="split")
    parts = {s: [units.words(line) for line in lines] for s, lines in sentences().items()}
    parts["all"] = list(chain.from_iterable(parts.values()))
    signs = {s: [w for words in part for w in words] for s, part in parts.items()}
    words = {s: [w for w in part if any(map(str.isalnum, w))] for s, part in signs.items()}
    rows = {
        "sentences": [len(part) for part in parts.values()],
        "words": [len(part) for part in words.values()],
        "distinct words": [len(set(part)) for part in words.values()],
        "words and signs": [len(part) for part in signs.values()],
        "distinct words and signs": [len(set(part)) for part in signs.values()],
    }
    for name, numbers in rows.items():
        assert f"| {name} | " + " | ".join(f"{n:,}" for n in numbers) + " |" in card
    counts = Counter(signs["train"])
    once = sum(count == 1 for count in counts.values())
    assert f"of the {len(counts):,} different ones in `train.txt`, {once:,} stand" in card
    unseen = sum(word not in counts for word in signs["dev"]) / len(signs["dev"])
    assert f"{100 * unseen:.1f} % never stand" in card
    for split in SPLITS:
        assert f"| `{split}.txt` | {len(parts[split]):,} |" in card


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public data at {DATA}")
def test_a_public_set_is_read_whole() -> None:
    found = load(DATA / "sentences" / "war_and_peace")
    assert is_corpus(DATA / "sentences" / "war_and_peace")
    assert not is_corpus(DATA / "g2p" / "eng_us")
    assert [len(found.train), len(found.dev), len(found.test)] == [36_178, 7850, 0]
    assert isinstance(found.train, CorpusLines)
    assert sum(len(line.split()) for line in found.train) == 393_907


# --- lines that continue each other


def running_lines() -> list[str]:
    """A text of sentences that is cut into lines of seven words."""
    draw = Random(2)
    people = ["the old man", "my sister", "our neighbour", "the doctor", "a boy"]
    deeds = ["walked to the house", "came back in the rain", "was waiting", "said nothing at all"]
    text = " ".join(
        f"{draw.choice(people)} {draw.choice(deeds)} and {draw.choice(deeds)}.".capitalize()
        for _ in range(700)
    )
    words = text.split()
    return [" ".join(words[begin : begin + 7]) for begin in range(0, len(words), 7)]


def test_the_lines_decide_whether_they_continue_each_other(tmp_path: Path) -> None:
    lines = running_lines()
    text = put(tmp_path, "all.txt", "\n".join(lines))
    found = load(text, running=None)
    assert found.running
    assert re.fullmatch(r"continue each other \(\d\d % begin inside a sentence\)", found.reason)
    assert list(found.dev) == list(load(text, running=True).dev), "the last lines are held out"
    assert load(text).reason == load(text, running=True).reason == ""
    mixed = put(tmp_path, "mixed.txt", "\n".join(Random(1).sample(lines, len(lines))))
    found = load(mixed, running=None)
    assert not found.running
    assert found.reason.endswith("begin inside a sentence, but not in that of the line before)")
    whole = put(tmp_path, "whole.txt", " ".join(lines).replace(". ", ".\n"))
    found = load(whole, running=None)
    assert (found.running, found.reason) == (
        False,
        "each for itself (0 % begin inside a sentence)",
    )
    assert list(found.dev) == list(load(whole).dev)


def test_scattered_lines_of_dev_decide_against_it(tmp_path: Path) -> None:
    lines = running_lines()
    folder = put(tmp_path, "train.txt", "\n".join(lines)).parent
    put(tmp_path, "dev.txt", "\n".join(lines[:700]))
    assert load(folder, running=None).running
    put(tmp_path, "dev.txt", "\n".join(Random(1).sample(lines, 700)))
    found = load(folder, running=None)
    assert not found.running
    assert found.reason.startswith("each for itself (in train they continue each other, ")
    assert found.reason.endswith("begin inside a sentence; not in dev)")
    put(tmp_path, "dev.txt", "A few lines.\nNo more.\n")  # they prove nothing
    assert load(folder, running=None).running


# --- lines out of all proportion


def test_a_line_out_of_all_proportion_is_named(tmp_path: Path) -> None:
    text = "a b\n\na b c\n" + "w " * 300 + "\n" + "a b c\n" + "w " * 300 + "\nb c\n"
    folder = put(tmp_path, "train.txt", text).parent
    put(tmp_path, "dev.txt", "a b\n")
    (problem, blanks) = load(folder).problems
    assert problem == (
        f"{folder}/train.txt:4: 301 words, half of the lines have at most 3: it takes much time; "
        "put each sentence on a line of its own, or train with the setting stateful"
    )
    assert "blank" in blanks
    assert len(load(folder, running=True).problems) == 1, "running text has no long lines"


def test_long_lines_among_long_lines_are_none(tmp_path: Path) -> None:
    text = "".join("w " * size + "\n" for size in (90, 300, 100, 110))
    put(tmp_path, "train.txt", text)
    put(tmp_path, "dev.txt", "a b\n")
    assert load(tmp_path).problems == []


# --- odd corpora


def test_a_stray_tab_is_named_with_its_line(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "one\n\ntwo\tthree\nfour\nfive\n")
    with pytest.raises(DataError) as caught:
        corpus.choose_task(path)
    assert str(caught.value) == (
        f"{path}:3: a tab, which 3 of the first 4 lines do not have: text has no tabs, and pairs "
        "have one in each line. Make it a space, or set task=next-word, which reads it as a space"
    )
    assert corpus.choose_task(path, "next-word") == "next-word"
    assert load(path).train.count + load(path).dev.count + load(path).test.count == 4
    assert corpus.choose_task(path, has_columns=True) == "pairs"


def test_text_in_another_encoding_is_read_and_told(tmp_path: Path) -> None:
    lines = ["Käse und Brot", "über Nacht", "ganz früh"]
    for encoding, told in (("cp1252", "read as cp1252"), ("utf-16", "read as UTF-16-LE")):
        put(tmp_path, "train.txt", "\n".join(lines).encode(encoding))
        put(tmp_path, "dev.txt", "x\n")
        assert is_corpus(tmp_path)
        found = load(tmp_path)
        assert list(found.train) == lines
        assert found.problems[0].startswith(f"{tmp_path}/train.txt: {told}")
    put(tmp_path, "train.txt", "слово\n".encode("koi8-r"))
    assert list(load(tmp_path, encoding="koi8-r").train) == ["слово"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("今天天气很好", True),
        ("วันนี้อากาศดี", True),
        ("I love 北京", False),
        ("오늘 날씨가 좋다", False),
        ("...", False),
    ],
)
def test_a_script_without_spaces_is_told(tmp_path: Path, line: str, told: bool) -> None:
    put(tmp_path, "train.txt", f"{line}\n" * 3)
    put(tmp_path, "dev.txt", "x\n")
    problems = load(tmp_path).problems
    assert any("units=characters" in problem for problem in problems) == told
    assert load(tmp_path, units="subwords").problems == []


def test_odd_names_of_splits_are_text_as_well(tmp_path: Path) -> None:
    put(tmp_path, "zh_train.txt", "a\n")
    put(tmp_path, "zh_val.txt", "b\n")
    assert is_corpus(tmp_path)
    assert (list(load(tmp_path).train), list(load(tmp_path).dev)) == (["a"], ["b"])


@pytest.mark.parametrize("ending", ["xz", "bz2"])
def test_packed_text_is_a_corpus(tmp_path: Path, ending: str) -> None:
    pack = {"xz": lzma.compress, "bz2": bz2.compress}[ending]
    put(tmp_path, "train.txt." + ending, pack(b"a\nb\n"))
    assert is_corpus(tmp_path)
    assert load(tmp_path, splits=["train"]).train.count == 1


def test_a_pronouncing_dictionary_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("harbour HH AA1 R B ER0\nlantern L AE1 N T ER0\n")
    assert not is_corpus(path)
    assert not is_corpus(tmp_path)
    path.write_text("the harbour was cold\na lantern burned\n")
    assert is_corpus(path)


# --- what commands read of a folder


def test_the_files_that_are_read_of_a_folder(tmp_path: Path) -> None:
    for name in ("train.tsv", "dev.tsv", "charseq.toml", "errors_test.tsv", "README.md"):
        (tmp_path / name).write_text("a\tb\n")
    names = {path.name for path in corpus.data_files(tmp_path)}
    assert names == {"train.tsv", "dev.tsv", "charseq.toml"}, "no other test is read beside them"
    other = tmp_path / "other"
    other.mkdir()
    for name in ("eng_train.tsv", "eng_dev.tsv", "notes.tsv"):
        (other / name).write_text("a\tb\n")
    assert {path.name for path in corpus.data_files(other)} == {"eng_train.tsv", "eng_dev.tsv"}
    assert corpus.data_files(other / "notes.tsv") == [other / "notes.tsv"]


def test_columns_and_a_delimiter_make_pairs_of_text(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("a;b\nc;d\n")
    assert corpus.task_of(path) == "next-word"
    assert corpus.task_of(path, {"delimiter": "auto"}) == "next-word"
    assert corpus.task_of(path, {"delimiter": ";"}) == "pairs"
    assert corpus.task_of(path, {"columns": "source,target"}) == "pairs"
    (tmp_path / "train.txt").write_text("a;b\nc;d\n")
    assert corpus.task_of(tmp_path) == "next-word"
    (tmp_path / "charseq.toml").write_text('delimiter = ";"\n')
    assert corpus.task_of(tmp_path) == "pairs"


# --- how data are read for a run

BOTH = {"encoding": "cp1251", "delimiter": ";"}


@pytest.mark.parametrize(
    ("name", "content", "trained", "taken"),
    [
        ("a.txt", "a;A\nb;B\n", {"delimiter": ";"}, {"delimiter": ";"}),
        ("a.txt", "a;A\nb\n", {"delimiter": ";"}, {}),  # one line has none
        ("a.txt", "a;b\tA\nb;c\tB\n", {"delimiter": ";"}, {}),  # tabs say otherwise
        ("a.csv", "a~A\nb~B\n", {"delimiter": "~"}, {"delimiter": "~"}),
        ("a.csv", "a~b,A\nb~c,B\n", {"delimiter": "~"}, {}),  # commas say otherwise
        ("a.jsonl", '{"source": "a;b"}\n', {"delimiter": ";"}, {}),
        ("a.txt", "a;A\n", {"delimiter": "auto"}, {}),
        ("a.txt", "ж;Ж\n".encode("cp1251"), {"encoding": "cp1251"}, {"encoding": "cp1251"}),
        ("a.txt", "é;É\n".encode("cp1252"), {"encoding": "cp1250"}, {"encoding": "cp1250"}),
        ("a.txt", "ж;Ж\n", {"encoding": "cp1251"}, {}),  # it is UTF-8
        ("a.txt", "ж;Ж\n".encode("utf-16"), {"encoding": "cp1251"}, {}),  # its mark says otherwise
        ("a.txt", "ж;Ж\n".encode("cp1251"), BOTH, BOTH),
        ("a.txt", b"\x98;A\n", {"encoding": "cp1251"}, {}),  # it is no cp1251 either
    ],
)
def test_data_are_read_as_in_training_where_they_tell_nothing_else(
    tmp_path: Path, name: str, content: str | bytes, trained: dict[str, str], taken: dict[str, str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found, lines = trained_reading(path, trained)
    assert found == taken
    assert len(lines) == len(taken)
    for line, (key, value) in zip(lines, taken.items(), strict=True):
        assert line == f"{path}: {key} {value}, as in training ({key} names another)"
        given = {"encoding": "utf-8", "delimiter": "|"}
        assert trained_reading(path, trained, given) == (given, []), key


def test_files_of_a_folder_are_read_as_in_training(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("a;A\nb;B\n")
    assert trained_reading(tmp_path, {"delimiter": ";"})[0] == {"delimiter": ";"}
    (tmp_path / "charseq.toml").write_text("delimiter = ','\n")
    assert trained_reading(tmp_path, {"delimiter": ";"}) == ({}, [])
    assert trained_reading(tmp_path / "nowhere", {"delimiter": ";"}) == ({}, [])
    assert trained_reading("-", {"delimiter": ";"}) == ({}, [])
