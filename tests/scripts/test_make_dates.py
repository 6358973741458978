"""The dates: the committed files obey the card's rules, and the script makes those very bytes."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import groupby
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
DATA = ROOT / "data"
SIZES = {"train": 94_000, "dev": 3_000, "test": 3_000}
UNSEEN = ("3. März 2021", "March 3rd, 2021", "2021年3月3日", "٣ مارس ٢٠٢١")

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Pair]]:
    found = {}
    for name in SIZES:
        text = (DATA / f"{name}.tsv").read_bytes().decode("utf-8")
        assert text.endswith("\n")
        cells = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
        assert all(len(row) == 2 for row in cells)
        found[name] = [(row[0], row[1]) for row in cells]
    return found


@pytest.fixture(scope="module")
def pairs(splits: dict[str, list[Pair]]) -> list[Pair]:
    return [pair for rows in splits.values() for pair in rows]


@pytest.fixture(scope="module")
def scripts() -> Iterator[None]:
    """The generator's modules can be imported, as they import each other."""
    pytest.importorskip("babel", reason="Babel is needed to make the dates")
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))
    for name in (
        "make_dates",
        "strangers",
        "foreign_months",
        "date_spans",
        "date_forms",
        "date_writing",
        "date_rules",
    ):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def dates(scripts: None) -> ModuleType:
    return importlib.import_module("make_dates")


@pytest.fixture(scope="module")
def writing(scripts: None) -> ModuleType:
    return importlib.import_module("date_writing")


@pytest.fixture(scope="module")
def rules(scripts: None) -> ModuleType:
    return importlib.import_module("date_rules")


@pytest.fixture(scope="module")
def strangers(scripts: None) -> ModuleType:
    return importlib.import_module("strangers")


@pytest.fixture(scope="module")
def days(pairs: list[Pair]) -> list[Pair]:
    """The rows whose answer is a day."""
    return [pair for pair in pairs if len(pair[1]) == 10]


# --- the committed files


def test_the_files_have_their_sizes(splits: dict[str, list[Pair]]) -> None:
    assert {name: len(rows) for name, rows in splits.items()} == SIZES
    assert sum((DATA / f"{name}.tsv").stat().st_size for name in SIZES) < 3_200_000


def test_a_target_is_a_day_a_month_a_year_two_days_or_nothing(pairs: list[Pair]) -> None:
    kinds: Counter[str] = Counter()
    for _, target in pairs:
        parts = target.split("/") if target else []
        for part in parts:
            padded = part + "-01-01"[len(part) - 4 :] if len(part) < 10 else part
            assert date.fromisoformat(padded).isoformat() == padded
            assert 1500 <= int(part[:4]) <= 2110
        assert len(parts) < 2 or (parts[0] < parts[1] and len({len(part) for part in parts}) == 1)
        kinds["span" if len(parts) > 1 else f"{len(target)}"] += 1
    assert min(kinds["10"] / 60_000, kinds["7"] / 4_000, kinds["4"] / 500) > 1
    assert min(kinds["span"] / 3_000, kinds["0"] / 20_000) > 1
    assert kinds.total() == len(pairs)


def test_a_source_is_nfc_on_one_line_without_control_signs(pairs: list[Pair]) -> None:
    for source, _ in pairs:
        assert unicodedata.is_normalized("NFC", source)
        assert source.strip()
        assert not any(unicodedata.category(sign) in ("Cc", "Co", "Cs", "Cn") for sign in source)
        # of the invisible ones only the joiners that Persian and Indian spelling ask for
        assert {sign for sign in source if unicodedata.category(sign) == "Cf"} <= {
            "\u200c",
            "\u200d",
            "\u200b",
            "\u00ad",
        }


def bare(source: str) -> str:
    """The letters with their marks, caseless, without anything between them."""
    return "".join(c for c in source.casefold() if unicodedata.category(c)[0] in "LM")


def loose(source: str) -> tuple[str, ...]:
    """The runs of letters and of digits, caseless, whatever stands between them."""

    def kind(sign: str) -> str:
        return unicodedata.category(sign)[0].replace("M", "L")

    runs = groupby(unicodedata.normalize("NFC", source).casefold(), key=kind)
    return tuple("".join(signs) for name, signs in runs if name in "LN")


def test_no_source_stands_twice_in_any_spelling(days: list[Pair], pairs: list[Pair]) -> None:
    times = Counter(loose(source) for source, _ in days)
    assert [run for run, count in times.items() if count > 1] == []
    assert len({source for source, _ in pairs}) == len(pairs)


def test_what_is_shown_as_unseen_is_unseen(pairs: list[Pair]) -> None:
    assert not {loose(text) for text in UNSEEN} & {loose(source) for source, _ in pairs}


# --- the written rules, read a second time and without the script


def by_the_card(source: str) -> str:
    """The card's rules 2 to 7 for a string without letters; knows nothing of the script."""
    decimal = groupby(source, key=lambda sign: unicodedata.decimal(sign, None) is not None)
    parts = [(is_number, "".join(run)) for is_number, run in decimal]
    raw = [text for is_number, text in parts if is_number]
    between = [text for is_number, text in parts[1:-1] if not is_number]
    numbers = ["".join(str(unicodedata.decimal(sign)) for sign in text) for text in raw]
    if len(numbers) == 1:
        assert len(numbers[0]) in (6, 8)
        head = len(numbers[0]) - 4
        numbers = [numbers[0][:head], numbers[0][head:-2], numbers[0][-2:]]
        order = "ymd"
    elif len(numbers[0]) == 4 or int(numbers[0]) > 31:
        order = "ymd"
    elif int(numbers[0]) > 12:
        order = "dmy"
    elif int(numbers[1]) > 12:
        order = "mdy"
    else:
        order = "mdy" if "/" in between[0] and raw[0].isascii() else "dmy"
    assert len(numbers) == 3
    part = dict(zip(order, numbers, strict=True))
    if len(part["y"]) == 2:
        part["y"] = ("19" if part["y"] >= "50" else "20") + part["y"]
    return f"{part['y']}-{part['m']:0>2}-{part['d']:0>2}"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("3/4/2021", "2021-03-04"),
        ("25/4/2021", "2021-04-25"),
        ("3.4.2021", "2021-04-03"),
        ("3-4-21", "2021-04-03"),
        ("3 / 4 / 50", "1950-03-04"),
        ("3 4 49", "2049-04-03"),
        ("3-25-2021", "2021-03-25"),
        ("٣/٤/٢٠٢١", "2021-04-03"),
        ("２０２１／３／４", "2021-03-04"),
        ("2021/3/4", "2021-03-04"),
        ("99-03-04", "1999-03-04"),
        ("20210304", "2021-03-04"),
        (" (210304).", "2021-03-04"),
        ("2021_03_04", "2021-03-04"),
    ],
)
def test_the_two_readings_of_the_rules_agree(dates: ModuleType, source: str, target: str) -> None:
    assert by_the_card(source) == target
    assert dates.settled(source).isoformat() == target


def numbers_of(source: str) -> list[str]:
    return re.findall(r"\d+", source)


def test_every_row_of_digits_obeys_the_rules(days: list[Pair]) -> None:
    rows = [
        (s, t)
        for s, t in days
        if not any(c.isalpha() or c == "〇" for c in s)
        and ":" not in s
        and len(numbers_of(s)) == (1 if len(numbers_of(s)[0]) in (6, 8) else 3)
    ]
    assert len(rows) > 7_000
    assert [(s, t, by_the_card(s)) for s, t in rows if by_the_card(s) != t] == []


def test_a_day_that_the_rules_read_is_the_answer(rules: ModuleType, pairs: list[Pair]) -> None:
    """Also of months, years and impossible days; spans hold a day, and so do dotted times."""
    read = [
        (source, target, rules.reading(source))
        for source, target in pairs
        if "/" not in target and not any(sign.isalpha() for sign in source)
    ]
    read = [row for row in read if not re.search(r"\d\.\d\d\b.*[ ,]|[ ,].*\d\.\d\d\b", row[0])]
    read = [row for row in read if not re.search(r":\d\d-\d", row[0])]  # spans of hours
    assert sum(found is not None for *_, found in read) > 11_000
    assert [row for row in read if row[2] not in (None, row[1])] == []


def test_in_every_row_day_and_year_can_be_read(days: list[Pair]) -> None:
    for source, target in days:
        if ":" in source or re.search(r"(?i)\bno\. 7 of|\d{6}", source):
            continue
        numbers = [
            "".join(str(unicodedata.decimal(sign)) for sign in run)
            for run in re.findall(r"\d+", source)
        ]
        if len(numbers) == 2 and "年" not in source:  # the month in words
            short = [number for number in numbers if len(number) <= 2]
            if len(short) == 2:
                assert target[2:4] == numbers[1]
                assert int(target[8:]) == int(numbers[0])
            else:
                assert target[:4] in numbers
                assert int(target[8:]) == int(short[0])


def test_both_ends_of_two_dates_can_be_read(pairs: list[Pair]) -> None:
    """Day and year of either end stand in the string, the year perhaps once or by two digits."""
    ends = [(source, *target.split("/")) for source, target in pairs if "/" in target]
    counts = Counter(len(first) for _, first, _ in ends)
    assert min(counts[10] / 3_000, counts[7] / 500, counts[4] / 700) > 1
    for source, first, last in ends:
        if any(sign in source for sign in "〇十一二三四五六七八九"):
            continue
        digits = "".join(
            str(unicodedata.decimal(sign, sign)) if sign.isdecimal() else sign for sign in source
        )
        numbers = {int(run) for run in re.findall(r"\d+", digits)}
        glued = re.findall(r"\d{8}|\d{6}", digits)
        numbers |= {int(part) for run in glued for part in (run[-2:], run[-6:-4])}
        if len(first) == 10:
            assert {int(first[8:]), int(last[8:])} <= numbers, source
        assert last[:4] in digits or int(last[2:4]) in numbers, source
        assert len(first) > 4 or first in digits, source


def test_no_language_that_is_held_out_is_in_a_row(pairs: list[Pair], scripts: None) -> None:
    months = importlib.import_module("foreign_months")
    names = {"gwengolo", "mezheven", "kerzu", "cʼhwevrer", "nzeri", "ukuboza", "ɛrɛ̀nà"}
    assert {"br", "rw", "yo", "fy"} == set(months.HELD_OUT)
    assert not {name.casefold() for name in months.others()} & names
    assert not [source for source, _ in pairs if any(name in source.casefold() for name in names)]


@pytest.mark.parametrize(
    ("word", "like"),
    [
        ("mrach", True),
        ("Januari", True),
        ("septembro", True),
        ("Kerzu", False),
        ("Ujamu", False),
    ],
)
def test_a_month_of_no_taught_language_is_unlike_theirs(
    scripts: None, word: str, like: bool
) -> None:
    months = importlib.import_module("foreign_months")
    assert months.resembles(word) is like
    rng = Random(4)
    made = [months.foreign_month("Oktober", rng) for _ in range(200)]
    assert sum(name is not None for name in made) > 80
    assert not [name for name in made if name and months.resembles(name)]


def test_the_examples_of_the_card_are_rows(pairs: list[Pair]) -> None:
    card = (DATA / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(.+?)` \| `?([\d/-]*)`? ?\| ", card, re.MULTILINE)
    assert len(shown) >= 10
    assert set(shown) <= set(pairs)


def test_english_weekdays_are_true(days: list[Pair]) -> None:
    names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    found = 0
    for source, target in days:
        said = next((i for i, name in enumerate(names) if name in source.casefold()), None)
        if said is not None:
            assert date.fromisoformat(target).weekday() == said, source
            found += 1
    assert found > 500


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        (r"[٠-٩]", 500),
        (r"[۰-۹]", 300),
        (r"[०-९]", 300),
        (r"[০-৯]", 300),
        (r"[๐-๙]", 50),
        (r"[０-９]", 50),
        (r"[一二三四五六七八九]年", 80),
        (r"\d(st|nd|rd|th)\b", 500),
        (r"\b1er\b", 30),
        (r"\b1º", 30),
        (r"^\d{8}$", 100),
        (r"^\d\d?/\d\d?/\d{4}$", 500),
        (r"\b[IVX]+\b", 300),
        (r"[А-Яа-я]{3}", 1500),
        (r"[Ͱ-Ͽ]{3}", 300),
        (r"[֐-׿]{3}", 300),
        (r"[؀-ۿ]{3}", 1000),
        (r"[ऀ-ॿ]{2}", 800),
        (r"[ঀ-৿]{2}", 300),
        (r"[฀-๿]{2}", 300),
        (r"[Ⴀ-ჿ]{3}", 300),
        (r"[԰-֏]{3}", 300),
        (r"년", 300),
    ],
)
def test_what_the_card_promises_is_there(pairs: list[Pair], pattern: str, least: int) -> None:
    assert sum(re.search(pattern, source) is not None for source, _ in pairs) >= least


# --- the script


def run(folder: Path, *options: str, hashing: str = "0") -> dict[str, bytes]:
    sizes = ["--train", "300", "--dev", "20", "--test", "30"]
    subprocess.run(
        [sys.executable, str(SCRIPTS / "make_dates.py"), "--out", str(folder), *sizes, *options],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": hashing},
    )
    return {name: (folder / f"{name}.tsv").read_bytes() for name in SIZES}


def test_the_same_seed_gives_the_same_bytes(dates: ModuleType, tmp_path: Path) -> None:
    assert dates.__doc__
    first = run(tmp_path / "a")
    assert {name: data.count(b"\n") for name, data in first.items()} == {
        "train": 300, "dev": 20, "test": 30,
    }  # fmt: skip
    assert run(tmp_path / "b", hashing="1") == first
    assert run(tmp_path / "c", "--seed", "2")["test"] != first["test"]
    longer = run(tmp_path / "d", "--train", "400")
    assert longer["test"] == first["test"]
    assert longer["train"].startswith(first["train"])


def test_the_committed_files_and_counts_are_the_scripts(
    dates: ModuleType, tmp_path: Path, splits: dict[str, list[Pair]]
) -> None:
    card = (DATA / "README.md").read_text(encoding="utf-8")
    made_with = f"Babel {dates.babel.__version__}, which carries CLDR {dates.get_cldr_version()}"
    if made_with not in card:
        pytest.skip(f"the committed files were not made with {made_with}")
    made = dates.make(tmp_path, 1, {name: SIZES[name] for name in ("test", "dev", "train")})
    for name in splits:
        assert (tmp_path / f"{name}.tsv").read_bytes() == (DATA / f"{name}.tsv").read_bytes()
    counts = card.partition("<!-- counts:begin -->\n")[2].partition("<!-- counts:end -->")[0]
    assert counts == dates.summary(made)
    rows = [row for split in made.values() for row in split]
    clean = sum(not any(tag.startswith("fault") for tag in row.tags) for row in rows)
    assert 0.8 < clean / len(rows) < 0.9
    assert len({row.locale for row in rows}) == 76


def test_a_name_means_the_month_of_the_language_that_is_listed_first(writing: ModuleType) -> None:
    assert (writing.names_of("hr")["listopada"], writing.names_of("pl")["listopada"]) == (10, 11)
    assert writing.all_names()["listopada"] == 11
    assert writing.all_names()["marta"] == 3


@pytest.mark.parametrize(
    ("word", "month", "expected"),
    [
        ("septmber", 9, True),
        ("okotber", 10, True),
        ("jui", 6, False),
        ("juli", 6, False),
        ("juij", 6, False),
        ("мая", 3, False),
    ],
)
def test_a_typo_has_to_be_recoverable(
    writing: ModuleType, word: str, month: int, expected: bool
) -> None:
    assert writing.recoverable(word, month) is expected


@pytest.mark.parametrize("kind", ["case", "spacing", "punctuation", "typo", "accents"])
def test_a_fault_leaves_the_digits_and_the_reading(dates: ModuleType, kind: str) -> None:
    rng = Random(3)
    changed = 0
    for code in dates.languages():
        for _ in range(40):
            pattern = rng.choice(dates.languages()[code].patterns)
            when = dates.pick_date(rng, pattern, code)
            pieces = dates.written(pattern, when, code, rng)
            if not dates.decided(pieces, when):
                continue
            before = dates.joined(pieces)
            after = dates.joined(dates.fault(kind, pieces, when, code, rng))
            changed += before != after
            assert re.findall(r"\d+", after) == re.findall(r"\d+", before)
            if dates.settled(before):
                assert dates.settled(after) == when
            if kind in ("spacing", "punctuation"):
                assert bare(after) == bare(before)
            if kind in ("case", "accents"):
                assert dates.folded(after).replace("ae", "a") == dates.folded(before).replace(
                    "ae", "a"
                )
    assert changed > 100


def test_a_date_in_pieces(dates: ModuleType) -> None:
    def text(pattern: str, code: str, when: date) -> str:
        return dates.joined(dates.written(pattern, when, code, Random(0)))

    third = date(2021, 3, 3)
    assert text("MMMM #, y", "en_US", third) == "March 3rd, 2021"
    assert text("'den' d. MMMM y", "de", third) == "den 3. März 2021"
    assert text("# MMMM y", "fr", date(2021, 2, 1)) == "1er février 2021"
    assert text("LLL. d, y", "en_US", date(2021, 5, 11)) == "May 11, 2021"
    assert text("LLL. d, y", "en_US", date(2021, 10, 11)) == "Oct. 11, 2021"
    assert text("^ddLLLyy", "en_GB", third) == "03MAR21"
    assert text("d LLL ''yy", "en_GB", date(1999, 12, 31)) == "31 Dec '99"
    assert text("d.%.y", "pl", date(2021, 9, 2)) == "2.IX.2021"
    assert text("EEEE d MMMM y", "ar_LB", third).endswith("آذار 2021")


def test_chinese_numerals_and_other_digits(dates: ModuleType, writing: ModuleType) -> None:
    assert [writing.chinese(n) for n in ("1", "10", "11", "20", "31")] == [
        "一", "十", "十一", "二十", "三十一",
    ]  # fmt: skip
    pieces = dates.written("y年M月d日", date(2021, 3, 23), "ko", Random(0))
    assert (
        dates.joined(writing.with_digits(pieces, "〇一二三四五六七八九"))
        == "二〇二一年三月二十三日"
    )
    pieces = dates.written("y/MM/dd", date(2021, 3, 23), "ko", Random(0))
    assert (
        dates.joined(writing.with_digits(pieces, "０１２３４５６７８９")) == "２０２１／０３／２３"
    )


def test_capitals_as_the_language_has_them(dates: ModuleType, writing: ModuleType) -> None:
    assert writing.cased("Nisan", "upper", "tr") == "NİSAN"
    assert writing.cased("KASIM", "lower", "tr") == "kasım"
    assert writing.cased("Μαρτίου", "upper", "el") == "ΜΑΡΤΙΟΥ"
    assert dates.plain("septiembre, août, Kasım, أغسطس, ३ मार्च") == (
        "septiembre, aout, Kasim, اغسطس, ३ मार्च"
    )


def test_a_source_with_two_answers_is_left_out(
    dates: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter([("x", "2021"), ("x", "2022"), ("x ", "2023"), ("y", "2024")])
    row = [dates.Row(source, target, "und", "a year", frozenset()) for source, target in made]
    follow = iter(row)
    monkeypatch.setattr(dates, "KINDS", {lambda _rng, _code: next(follow): 1})
    found = dates.rows(1)
    assert [next(found).target for _ in range(2)] == ["2021", "2024"]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("2021-W09-3", None),
        ("2021-062", None),
        ("09/7/3", ""),
        ("03/2021", "2021-03"),
        ("2021-03", "2021-03"),
        ("13/2021", ""),
        ("(2021)", "2021"),
        ("1799", "1799"),
        ("1499", None),
        ("1998-99", None),
        ("1998-12", "1998-12"),
        ("3.4.2021 10:15", "2021-04-03"),
        ("10:15:30, 3/4/2021", "2021-03-04"),
        ("20210303T101500Z", "2021-03-03"),
        ("31/02/2021", ""),
        ("2021-13-45", ""),
        ("192.168.10.12", None),
        ("10.0.10.12", None),
        ("24/7", None),
        ("12:30:45", None),
        ("555-123-4567", None),
        ("1.2.3", ""),
    ],
)
def test_a_string_of_numbers_has_one_reading(
    rules: ModuleType, text: str, target: str | None
) -> None:
    assert rules.reading(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "2021", "03/2021", "3 March 2021", "march 3 21", "on 2021-03-03", "v3.4.21", "May 1999",
        "2021年3月", "10 мая 2014", "listopad 2020", "2021-03-03 (INV-1)",
    ],
)  # fmt: skip
def test_a_string_that_may_be_a_date_is_no_stranger(strangers: ModuleType, text: str) -> None:
    assert strangers.looks_dated(text)


def test_strangers_are_of_every_kind_and_no_dates(strangers: ModuleType) -> None:
    rng = Random(5)
    found = [strangers.stranger(rng) for _ in range(2000)]
    assert {kind for _, kind in found} == set(strangers.KINDS)
    assert not any(strangers.looks_dated(text) for text, _ in found)
    assert len({text for text, _ in found}) > 1700


def test_a_time_of_day_leaves_the_date_in_one_piece(scripts: None) -> None:
    forms = importlib.import_module("date_forms")
    rng = Random(2)
    seen = set()
    for _ in range(400):
        for code in ("und", "en_US", "zh", "de"):
            text = forms.timed("2021-03-03", code, rng)
            assert re.search(r"(?<!\d)2021-03-03(?!\d)", text), text
            seen.add(re.sub(r"\d+", "9", text))
    assert len(seen) > 200
