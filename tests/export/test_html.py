"""A page answers in a browser as the run does, and lets nothing in or out."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from exported_runs import (
    LINES,
    MARKED,
    SPACED,
    TEXTS,
    WEIGHED,
    WITH_FEATURES,
    lines_of,
    measures,
    pairs_run,
    trained_run,
    weighed_run,
    with_words,
    without_ngrams,
    words_run,
)

from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CharseqError, SettingError, UsageError
from charseq.export.html import PAGE, SCRIPTS, to_html
from charseq.export.verify import read_texts
from charseq.inference.predictor import load

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NETWORKS: dict[str, dict[str, Any]] = {
    **{f"{cell} {kind}": {"cell": cell, "attention": kind}
       for cell in ("tanh", "residual", "gru", "lstm") for kind in ("soft", "hard")},
    "no attention, two layers": {"attention": "none", "layers": 2},
    "a prior": {"attention": "hard", "alignment_prior": True, "tie_embeddings": False},
    "empty outputs": {"attention": "soft", "empty_targets": True, "length_penalty": 1.5},
    "greedy": {"attention": "soft", "beam": 1},
    "an ensemble": {"attention": "soft", "ensemble": 3, "cells": "gru,lstm"},
    "both directions": {"attention": "hard", "ensemble": 3, "direction": "auto"},
}  # fmt: skip
ASK = """([texts, options]) => texts.map((text) => {
    const [source, features] = options.features ? text.split("\\t") : [text, ""];
    const found = charseq.predict(source, { ...options, features });
    return { ...found, answers: found.answers.map(({ text, probability }) => [text, probability]) };
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with driver.sync_playwright() as found:
        started = found.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page, which must have no error and load nothing but itself."""
    made = browser.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda fault: faults.append(str(fault)))
    made.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    asked: list[str] = []
    made.on("request", lambda request: asked.append(request.url))
    yield made
    assert faults == []
    assert all(url.startswith(("file://", "blob:")) for url in asked)
    assert len(set(asked)) <= 1
    made.close()


def assert_has_the_answers(
    page: Any, run: Path, texts: list[str], folder: Path, **options: Any
) -> None:
    """The page of a run in full precision has the run's answers to ``texts``."""
    path = folder / "page.html"
    to_html(run, path, precision="fp32", texts=lines_of(folder / "texts", texts))
    page.goto(path.as_uri())
    found = page.evaluate(ASK, [texts, {"n": 4, **options}])
    for own, other in zip(load(run).predict(texts, n=4), found, strict=True):
        assert [text for text, _ in other["answers"]] == [c.prediction for c in own.candidates]
        assert [share for _, share in other["answers"]] == pytest.approx(
            [c.probability for c in own.candidates], abs=1e-4
        )
        assert other["unknown"] == own.unknown
        assert other["truncated"] == own.truncated
        assert other["familiarity"] == pytest.approx(own.familiarity, abs=1e-9)


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_the_answers_are_those_of_the_run(
    settings: dict[str, Any], page: Any, tmp_path: Path
) -> None:
    assert_has_the_answers(page, pairs_run(tmp_path / "run", **settings), TEXTS, tmp_path)


def test_probabilities_are_those_of_the_run(page: Any, tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", attention="soft", more=measures())
    assert_has_the_answers(page, run, [*TEXTS, "abba", "bead"], tmp_path)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_features_are_read(kind: str, page: Any, tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", source=WITH_FEATURES, attention=kind)
    texts = ["abc\tV;PST", "abc\tN(SG)", "é\tV", "a\tN(SG,X);V", "dab\tunseen", "abc\t"]
    assert_has_the_answers(page, run, texts, tmp_path, features=True)
    assert page.is_visible("#features")


@pytest.mark.parametrize("settings", WEIGHED.values(), ids=WEIGHED)
def test_joint_ngrams_weigh_the_answers(
    settings: dict[str, Any], page: Any, tmp_path: Path
) -> None:
    run = weighed_run(tmp_path / "run", **settings)
    assert_has_the_answers(page, run, TEXTS, tmp_path)
    assert [one.prediction for one in load(run).predict(TEXTS)] != without_ngrams(run, TEXTS)
    assert "joint n-grams" in page.text_content("#about")


def test_joint_ngrams_are_beside_all_other_measures(page: Any, tmp_path: Path) -> None:
    run = weighed_run(tmp_path / "run", source=WITH_FEATURES)
    texts = ["abc\tV;PST", "abc\tN(SG)", "é\tV", "a\tN(SG,X);V", "dab\tunseen", "abc\t"]
    assert_has_the_answers(page, run, texts, tmp_path, features=True)
    (tmp_path / "page.html").unlink()
    run = weighed_run(tmp_path / "measured", more=measures())
    assert_has_the_answers(page, run, [*TEXTS, "abba", "bead"], tmp_path)


def test_joint_ngrams_of_a_training_are_on_the_page(page: Any, tmp_path: Path) -> None:
    run, texts = trained_run(tmp_path / "data", ensemble=1)
    assert_has_the_answers(page, run, texts, tmp_path)
    assert [one.prediction for one in load(run).predict(texts)] != without_ngrams(run, texts)


@pytest.mark.parametrize("target", [SPACED, MARKED], ids=["spaced", "decomposed"])
def test_phones_are_read_and_written(target: Vocabulary, page: Any, tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", source=target, target=target, attention="soft")
    texts = ["HH AH0", "a\u02d0 ku", "\u02c8a\u02d0 k", "  L  OW1 ", "k \u02c8 u"]
    assert_has_the_answers(page, run, texts, tmp_path)


@pytest.mark.parametrize("cell", ["tanh", "residual", "gru", "lstm", "mlp"])
def test_words_are_those_of_the_run(cell: str, page: Any, tmp_path: Path) -> None:
    run = words_run(tmp_path / "run", cell=cell, layers=1 if cell == "mlp" else 2)
    path = tmp_path / "page.html"
    to_html(run, path, precision="fp32", texts=lines_of(tmp_path / "texts", LINES))
    page.goto(path.as_uri())
    model = load(run)
    for complete, answers in (
        (False, model.predict(LINES, n=4)),
        (True, model.complete(LINES, n=4)),
    ):
        found = page.evaluate(ASK, [LINES, {"n": 4, "complete": complete}])
        for own, other in zip(answers, found, strict=True):
            assert [text for text, _ in other["answers"]] == [c.prediction for c in own.candidates]
            assert [share for _, share in other["answers"]] == pytest.approx(
                [c.probability for c in own.candidates], abs=1e-5
            )
            assert other["unknown"] == own.unknown


def test_a_smaller_page_has_all_answers_of_the_dates(page: Any, tmp_path: Path) -> None:
    """The weights that ``auto`` chooses; the browser has the answers that were promised."""
    texts = read_texts(ROOT / "data" / "test.tsv", features=False, most=100)
    told = to_html("dates", tmp_path / "page.html", texts=lines_of(tmp_path / "texts", texts))
    assert told["equal"] + told["ties"] == told["texts"] == 100
    assert told["precision"] != "fp32"
    assert told["bytes"] < 2_500_000
    page.goto((tmp_path / "page.html").as_uri())
    found = page.evaluate(ASK, [texts, {"n": 1}])
    answers = [answer.prediction for answer in load("dates").predict(texts)]
    assert [other["answers"][0][0] for other in found] == answers


def typed(page: Any, text: str) -> str:
    """The answer that the page shows when a text is typed."""
    page.fill("#text", text)
    page.wait_for_selector("#answer:not(.stale)")
    return str(page.inner_text("#answer"))


def test_what_is_typed_is_answered_and_never_read_as_html(page: Any, tmp_path: Path) -> None:
    target = Vocabulary("characters", "NFC", "NFC", tuple("<b>&img"))
    name = "a<b>run"
    run = pairs_run(tmp_path / name, target=target, attention="soft")
    to_html(run, tmp_path / "page.html", texts=lines_of(tmp_path / "texts", TEXTS))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == page.inner_text("h1") == name
    assert not page.is_visible("#unknown")
    (own,) = load(run).predict(["abcde"])
    assert typed(page, "abcde") == own.prediction
    assert page.eval_on_selector_all("#candidates li", "(all) => all.length") > 1
    assert page.eval_on_selector("#candidates .bar", "(bar) => bar.style.inlineSize.endsWith('%')")
    typed(page, "<script>a</script>")
    assert page.is_visible("#unknown")
    assert page.inner_text("#unknown mark") == "<"
    assert page.eval_on_selector_all("#answer *, li b, li img", "(all) => all.length") == 0
    typed(page, "")
    assert page.inner_text("#answer") == "Type a text to see its answer."


def test_a_word_that_is_chosen_is_appended(page: Any, tmp_path: Path) -> None:
    run = words_run(tmp_path / "run")
    to_html(run, tmp_path / "page.html", texts=lines_of(tmp_path / "texts", LINES))
    page.goto((tmp_path / "page.html").as_uri())
    assert typed(page, "the c") in ("cat", "can't")
    page.click("#candidates button >> nth=0")
    assert page.input_value("#text") in ("the cat ", "the can't ")


# --- without a browser


def test_the_page_lets_in_nothing_but_its_own_script(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", attention="soft")
    to_html(run, tmp_path / "page.html", texts=lines_of(tmp_path / "texts", TEXTS))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0])
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert re.fullmatch("'sha256-[A-Za-z0-9+/]{43}='", rules["script-src"])
    assert "unsafe" not in policy
    assert not re.findall(
        r"(?:src|href)=|https?://|url\(|@import|\bon\w+=", text.split("<script>")[0]
    )
    for name in SCRIPTS:
        script = (PAGE / name).read_text(encoding="utf-8")
        assert not re.findall(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch", script
        )


def test_a_list_of_words_is_left_out_and_told(tmp_path: Path) -> None:
    """The weights in full precision are those of the run, so that all answers must be equal."""
    run, told = with_words(tmp_path / "run", TEXTS), list[str]()
    texts = lines_of(tmp_path / "texts", TEXTS)
    to_html(run, tmp_path / "page.html", precision="fp32", texts=texts, report=told.append)
    assert [line for line in told if line.startswith("the list of words is left out: ")]
    assert told[-2] == "fp32: 11 of 11 answers are equal; their probabilities differ by at most 0"


def test_the_facts_cannot_end_their_element(tmp_path: Path) -> None:
    symbols = ("a", "</script>", "<!--", "<")
    source = Vocabulary("spaced", "NFC", "NFC", symbols)
    run = pairs_run(tmp_path / "run", source=source, attention="soft")
    to_html(run, tmp_path / "page.html", texts=lines_of(tmp_path / "texts", ["a < a"]))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    held = re.findall(r'id="facts">(.*?)</script>', text, re.DOTALL)[0]
    assert json.loads(held)["source"]["symbols"] == list(symbols)
    assert "<" not in held


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run")
    texts = lines_of(tmp_path / "texts", TEXTS)
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        to_html(run, tmp_path / "page.html", texts=texts)
    for mine in (run / "about.json", texts):
        with pytest.raises(UsageError, match="is an input"):
            to_html(run, mine, texts=texts, force=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        to_html(run, tmp_path / "link", texts=texts, force=True)
    to_html(run, tmp_path / "page.html", texts=texts, force=True)
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_wrong_arguments_and_symbols_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pairs_run(tmp_path / "run")
    with pytest.raises(SettingError, match="expected auto, fp32, fp16, int8"):
        to_html(run, tmp_path / "page.html", precision="int4")
    monkeypatch.setattr("charseq.export.html._engine", lambda *_: _wrong)
    with pytest.raises(CharseqError, match="nothing was written"):
        to_html(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def _wrong(texts: list[str]) -> list[Any]:
    """Answers of another model."""
    from charseq.inference.prediction import Prediction

    return [Prediction(text, "?", 0.5, [], False, []) for text in texts]
