"""Names full of escapes and line breaks in data and runs: no command lets them reach a terminal."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from frozen import FIXTURES
from hostile.models.corpus import ABOUT, seal

from charseq.cli.main import run

EVIL = "\x1b]0;x\x07\x9b31m\x7f\u202e\u2028\u2066\r\n\t\u200b\ue000| <b>`*[x](y)_"
NAME = EVIL.replace("/", "").replace("\t", "")
"""As the name of a file."""
MARK = "\u200e"
"""Around right-to-left letters in tables, where it stays."""
SAFE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]*")


@pytest.fixture
def told(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of a command, neither of which may steer a terminal."""

    def call(*words: str, answers: bool = False) -> tuple[int, str, str]:
        code = run(list(words))
        out, err = (part.decode("utf-8") for part in capfdbinary.readouterr())
        for text in (err,) if answers else (out, err):
            for line in text.split("\n"):
                assert SAFE.fullmatch(line), (words, line)
                assert line.replace(MARK, "").isprintable(), (words, line)
                assert "--json" in words or len(line) < 10_000
        assert "internal error" not in err
        return code, out, err

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with odd names, in a folder with an odd name."""
    folder = tmp_path / NAME
    shutil.copytree(FIXTURES / "soft", folder)
    about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
    about["data"] |= {"name": EVIL, "fingerprint": EVIL, "columns": EVIL}
    about["data"]["examples"] = {EVIL: 3, "dev": 2}
    about["scores"][EVIL] = 1.5
    about["versions"][EVIL] = EVIL
    about["settings"]["feature_separator"] = EVIL * 200
    about["averaged"], about["distilled"] = {"of": EVIL}, {"teacher": EVIL * 999}
    about["start"] = "the same"
    about["source"] |= {"kind": "spaced", "feature_separator": EVIL}
    about["source"]["symbols"] = [EVIL.replace(" ", ""), *"\x1b\x9b\u202e\u05d0", *"abcdef"]
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    (folder / (NAME + "x")).touch()
    (folder / "members").mkdir()
    (folder / "members" / NAME).touch()
    seal_listed(folder)
    return folder


def seal_listed(folder: Path) -> None:
    extra = folder / (NAME + "x")
    extra.unlink()
    seal(folder)
    extra.touch()


def data_of(tmp_path: Path) -> Path:
    """Pairs in a folder and in files with odd names, whose cells are odd as well."""
    data = tmp_path / f"data {NAME}"
    data.mkdir()
    cell = EVIL.replace("\t", "").replace("\n", "").replace("\r", "")
    rows = [f"{cell}{number}\t{cell}" for number in range(9)] + ["\u05d0 b\tx", "\x1b b\tx"]
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        (data / name).write_text("\n".join(rows) + "\n", encoding="utf-8", newline="")
    return data


def test_runs(folder: Path, told: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = told("info", str(folder))
    assert code == 0
    assert r"\x1b]0;x\x07\x9b31m\x7f\u202e\u2028" in out
    code, out, _ = told("verify", str(folder))
    assert (code, len(out.splitlines())) == (0, 3)
    for command in ("info", "verify"):
        code, out, _ = told(command, "--json", str(folder))
        assert code == 0
        facts = json.loads(out)
    assert facts["run"] == str(folder)


def test_a_traceback(folder: Path, told: Callable[..., tuple[int, str, str]]) -> None:
    """Its lines repeat what a run says, and are escaped like the line of the error."""
    about = json.loads((folder / ABOUT).read_bytes())
    about["settings"]["cell"] = EVIL
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    seal_listed(folder)
    code, _, err = told("info", "--debug", str(folder))
    assert code == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.count(r"\x1b]0;x\x07\x9b31m\x7f") >= 2


def test_json_has_the_same_values(folder: Path, told: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = told("info", "--json", str(folder))
    about = json.loads((folder / ABOUT).read_bytes())
    assert json.loads(out)["data"] == about["data"]
    assert json.loads(out)["source"] == about["source"]


def test_data(folder: Path, tmp_path: Path, told: Callable[..., tuple[int, str, str]]) -> None:
    data = data_of(tmp_path)
    assert told("check", str(data))[0] == 0
    code, out, _ = told("check", "--json", str(data))
    assert (code, json.loads(out)["name"]) == (0, data.name)
    assert told("train", str(data), "--dry-run")[0] == 0
    assert told("evaluate", str(data), "-m", str(folder), "--details")[0] == 0
    code, out, _ = told("evaluate", str(data), "-m", str(folder), "--json")
    assert (code, json.loads(out)["data"]) == (0, str(data))
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    assert told("evaluate", str(data), "-m", str(folder), "-m", str(copy), "--details")[0] == 0
    text = tmp_path / f"{NAME}.txt"
    line = NAME.replace("\r\n", "")
    lines = [f"{line} {number} {line}\u2029 b\n" for number in range(40)]
    text.write_text("".join(lines), encoding="utf-8")
    assert told("check", str(text))[0] == 0
    assert told("train", str(text), "--dry-run")[0] == 0


def test_messages(folder: Path, tmp_path: Path, told: Callable[..., tuple[int, str, str]]) -> None:
    run_name, none = str(folder), str(tmp_path / f"none {NAME}")
    assert told("predict", "-m", run_name, "\x1b[31m \u202e b", answers=True)[0] == 0
    told("convert", str(data_of(tmp_path) / "test.tsv"), "-m", run_name, answers=True)
    for words in (
        ["info", none], ["verify", none], ["predict", "-m", none, "x"], ["check", none],
        ["train", none], ["convert", none], ["evaluate", none, "-m", run_name], [EVIL],
        ["predict", f"--{EVIL}"], ["predict", "-n", EVIL], ["train", none, "--cell", EVIL],
        ["train", none, "--set", EVIL], ["train", none, "--set", f"{EVIL}=1"],
        ["score", "-m", run_name, "x"], ["gradients", "--sheet", EVIL],
        ["average", run_name, run_name, "-o", none],
    ):  # fmt: skip
        assert told(*words)[0] in (1, 2), words
    for change in (
        lambda about: about["settings"].update({EVIL * 5000: 1}),
        lambda about: about["settings"].update(cell=EVIL * 5000),
        lambda about: about["settings"].update(hidden=EVIL * 5000),
        lambda about: about["source"].update({EVIL * 5000: 1}),
        lambda about: about["source"].update(kind=EVIL * 5000),
        lambda about: about["source"].update(symbols=[EVIL * 5000]),
        lambda about: about.update(calibration={"temperature": EVIL * 5000}),
    ):
        broken = folder.with_name("broken")
        shutil.copytree(FIXTURES / "soft", broken)
        about = json.loads((broken / ABOUT).read_bytes())
        change(about)
        (broken / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        seal(broken)
        for words in (["info", str(broken)], ["verify", str(broken)]):
            code, out, err = told(*words)
            assert code == 1
            assert max(map(len, (out + err).splitlines())) < 1500
        shutil.rmtree(broken)


def test_the_model_card_of_a_mean(
    folder: Path, tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    other, out = folder.with_name("other"), tmp_path / f"out {NAME}"
    shutil.copytree(folder, other)
    assert told("average", str(folder), str(other), "-o", str(out))[0] == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    lines = card.split("\n")
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if line.startswith("| ")]) == 7
    assert max(map(len, lines)) < 2000
    for line in lines:
        if line.startswith(("# ", "| data", "| training")):
            assert not re.search(r"(?<!\\)[<`*\[]", line), line
    assert told("info", str(out))[0] == 0
    assert told("verify", str(out))[0] == 0


def test_answers_are_data(folder: Path, tmp_path: Path) -> None:
    """A pipe gets the text as it is, whatever it holds."""
    lexicon = tmp_path / "lexicon.tsv"
    answer = "\x1b[31m\u202e\x9b"
    lexicon.write_text(f"abc\t{answer}\n", encoding="utf-8")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        words = ["predict", "-m", str(FIXTURES / "soft"), "--lexicon", str(lexicon), "abc"]
        assert run(words) == 0
    assert stream.buffer.getvalue() == f"{answer}\n".encode()  # type: ignore[attr-defined]
