"""The page of ``charseq serve`` in a browser, with models that write markup."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.models.corpus import ABOUT, seal
from served import RUNS, serving

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium on this machine", allow_module_level=True)

EVIL = "<img/src=x/onerror=document.title='owned'>"


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true, from outside: the page's own policy forbids ``eval``."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(expression)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose every output symbol, and whose data's name, is markup that would run."""
    folder = tmp_path_factory.mktemp("runs") / "evil"
    shutil.copytree(RUNS[0], folder)
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    target = about["target"]
    target["kind"] = about["settings"]["target_symbols"] = "spaced"
    target["symbols"] = [EVIL + "!" * place for place in range(len(target["symbols"]))]
    about["data"]["name"] = EVIL
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def url(hostile: Path) -> Iterator[str]:
    with serving(runs=[*RUNS, hostile]) as served:
        yield served.url


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    made = context.new_page()
    made.set_default_timeout(60_000)
    faults: list[str] = []
    made.on("pageerror", lambda fault: faults.append(str(fault)))
    made.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
    made.goto(url)
    until(made, "document.querySelector('#text-model').options.length === 4")
    yield made
    context.close()
    assert faults == []


def test_answers_come_while_typing(page: Any) -> None:
    page.type("#text", "kogima")
    page.wait_for_selector("#alignment path", state="attached")
    until(page, "document.querySelector('#alignment .row').children.length === 6")
    assert page.inner_text("#best")
    assert page.locator("#candidates li").count() == 5
    assert page.get_attribute("#sure", "aria-valuenow") is not None
    page.fill("#text", "xkogima")
    page.wait_for_selector(".sign.unknown")
    assert "never seen" in page.inner_text("#facts")
    until(page, "document.querySelector('#said').textContent.includes('unknown')")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "nothing is wider than a phone"


def test_markup_of_a_model_is_text(page: Any) -> None:
    page.select_option("#text-model", "evil")
    page.fill("#text", "kogima")
    until(page, "document.querySelector('#best').textContent.includes('<img')")
    page.click("#tab-card")
    page.select_option("#card-model", "evil")
    until(page, "document.querySelector('#card').textContent.includes('<img')")
    page.click("#tab-compare")
    page.select_option("#two-model", "evil")
    page.fill("#lines", f"kogima\n{EVIL}")
    until(page, "document.querySelector('#compare-table').textContent.includes('<img')")
    assert page.locator("main img").count() == 0
    assert page.title() == "charseq"


def test_the_policy_stops_a_script_that_was_let_in(browser: Any, url: str) -> None:
    """Even markup that reached the page would run nothing."""
    made = browser.new_page()
    made.goto(url)
    made.evaluate(
        "() => { document.querySelector('#main').insertAdjacentHTML('beforeend',"
        """ '<b id=in onclick="document.title=1">x</b>'); document.querySelector('#in').click() }"""
    )
    assert made.title() == "charseq"
    made.close()


def test_next_words_by_keyboard(page: Any) -> None:
    page.select_option("#text-model", "words")
    page.focus("#text")
    page.keyboard.type("I love t")
    page.wait_for_selector("#words[data-text='I love t'] button")
    first = page.inner_text("#words button bdi")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#text") == f"I love {first} "
    page.evaluate("document.querySelector('#words').dataset.text = 'I love'")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#text") == f"I love {first} ", "words of an earlier text are not taken"
    page.focus("#tab-text")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-compare", "aria-selected") == "true"
    assert page.is_visible("#view-compare")


def test_right_to_left(page: Any) -> None:
    page.fill("#text", "שלום")
    page.wait_for_selector("#alignment .row")
    rows = page.evaluate(
        "[...document.querySelectorAll('#text, #alignment .row')]"
        ".map((one) => getComputedStyle(one).direction)"
    )
    assert rows[:2] == ["rtl", "rtl"]


def test_every_control_has_a_name(page: Any) -> None:
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea, button')].filter((one) =>"
        " !one.labels?.length && !one.textContent.trim() && !one.getAttribute('aria-label'))"
        ".map((one) => one.id)"
    )
    assert nameless == []


def test_a_file(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text(f"id,word\n1,kogima\n2,{EVIL}\n3,banana\n", encoding="utf-8")
    page.click("#tab-file")
    page.set_input_files("#file", str(path))
    page.check("input[name=column][value='1']")
    page.check("#file-unsure")
    page.click("#convert")
    page.wait_for_selector("#downloads button")
    with page.expect_download() as waiting:
        page.click("#downloads button:first-child")
    rows = Path(waiting.value.path()).read_text(encoding="utf-8").split("\n")
    assert rows[0] == "id,word,prediction,prediction_note"
    assert len(rows) == 5
    assert waiting.value.suggested_filename == "words.converted.csv"
    assert page.locator("main img").count() == 0
