"""Runs of the Hub, from a local double: verified before use, kept by commit, never half."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from frozen import FIXTURES
from hub_double import TOKEN, Hub, hub_double
from huggingface_hub import constants

import charseq
from charseq.errors import CheckpointError, UsageError
from charseq.inference.hub import download as door
from charseq.inference.hub.download import choose, download, find

SOFT, WORDS = FIXTURES / "soft", FIXTURES / "words"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The double, which this process takes for the Hub; the cache is in ``tmp_path``."""
    with hub_double() as double:
        monkeypatch.setattr(constants, "ENDPOINT", double.url)
        template = f"{double.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        for name in ("HF_TOKEN", "CHARSEQ_MODEL"):
            monkeypatch.delenv(name, raising=False)
        yield double


def copy_of(run: Path, folder: Path) -> Path:
    """A copy of a run that a test may change."""
    shutil.copytree(run, folder / "copy" / run.name)
    return folder / "copy" / run.name


def assert_refused(address: str, told: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        download(address)
    assert told in str(caught.value)
    assert str(caught.value).startswith("hf://me/")
    assert "\n" not in str(caught.value)


def left(tmp_path: Path) -> list[str]:
    """The files in the cache."""
    found = (tmp_path / "assets").rglob("*")
    return sorted(str(path.relative_to(tmp_path / "assets")) for path in found if path.is_file())


def test_a_run_of_the_hub_answers_as_the_same_run_here(hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("me/soft", SOFT)
    model, here = charseq.load("hf://me/soft"), charseq.load(SOFT)
    assert model.name == "soft"
    assert model.predict(["abba"])[0].prediction == here.predict(["abba"])[0].prediction
    place = tmp_path / "assets" / "charseq" / "me--soft" / commit / "soft"
    assert find("hf://me/soft") == place
    listed = json.loads((SOFT / "manifest.json").read_bytes())["files"]
    assert {one.name for one in place.iterdir()} == {"manifest.json", *listed}
    assert all((place / one).read_bytes() == (SOFT / one).read_bytes() for one in listed)


def test_a_choice_names_the_commit(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add("me/soft", SOFT)
    assert choose("hf://me/soft").reason == f"hf://me/soft@{commit}"
    monkeypatch.setenv("CHARSEQ_MODEL", "hf://me/soft")
    assert choose().path == find("hf://me/soft")


def test_a_commit_is_downloaded_once_and_a_branch_is_looked_up(hub: Hub) -> None:
    first = hub.add("me/model", SOFT)
    download("hf://me/model")
    hub.asked.clear()
    assert download("hf://me/model").parent.name == first
    assert not any("resolve" in one for one in hub.asked)
    assert any(one.endswith("/revision/main") for one in hub.asked)
    second = hub.add("me/model", WORDS)
    assert download("hf://me/model").parent.name == second
    hub.asked.clear()
    assert download(f"hf://me/model@{first}").parent.name == first
    assert hub.asked == []


def test_a_tag_names_a_commit(hub: Hub) -> None:
    first = hub.add("me/model", SOFT)
    hub.add("me/model", WORDS)
    hub.repositories["me/model"].revisions["v1"] = first
    assert download("hf://me/model@v1").parent.name == first
    assert_refused("hf://me/model@v2", "the repository has no revision v2")


def test_nothing_is_asked_for_other_names(hub: Hub, tmp_path: Path) -> None:
    assert find(SOFT) == SOFT
    assert charseq.load("dates").name == "dates"
    with pytest.raises(CheckpointError, match="there is no such run"):
        find("me/soft")
    with pytest.raises(UsageError):
        find("hf://me")
    assert hub.asked == []
    assert left(tmp_path) == []


def test_a_private_repository_needs_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("me/soft", SOFT, private=True)
    told = "the Hub has no such repository, or it is private and not yours: log in with `hf auth"
    assert_refused("hf://me/soft", told)
    assert_refused("hf://me/nothing", told)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert download("hf://me/soft").name == "soft"
    assert_refused("hf://me/nothing", told)


def test_a_gated_repository_says_so(hub: Hub) -> None:
    hub.add("me/soft", SOFT, gated=True)
    assert_refused("hf://me/soft", "is gated: accept its terms on its page, and log in")


def test_an_answer_that_is_an_error_is_told(hub: Hub) -> None:
    hub.add("me/soft", SOFT)
    hub.failing = 400
    assert_refused("hf://me/soft", "the Hub answers 400")


def test_without_network_the_commit_that_is_here_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add("me/soft", SOFT)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert_refused("hf://me/soft", "the Hub (http://127.0.0.1:9) cannot be reached")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    download("hf://me/soft")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert_refused("hf://me/soft", f"; hf://me/soft@{commit} is on this machine")
    assert download(f"hf://me/soft@{commit}").name == "soft"


def test_another_commit_than_the_one_asked_for_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.add("me/soft", SOFT)
    stored = hub.repositories["me/soft"]
    wanted = "f" * 40
    stored.revisions[wanted] = stored.revisions["main"]
    assert_refused(f"hf://me/soft@{wanted}", "the Hub answers with another commit")
    stored.commits["../../../x"] = stored.commits[stored.revisions["main"]]
    stored.revisions["main"] = "../../../x"
    assert_refused("hf://me/soft", "the Hub answers with another commit")
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["about.json", "model.safetensors", "README.md", "manifest.json"])
def test_one_changed_byte_is_found_before_use(hub: Hub, tmp_path: Path, name: str) -> None:
    run = copy_of(SOFT, tmp_path)
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    hub.add("me/soft", run)
    assert_refused("hf://me/soft", f"is not sound, so it is not used: {name}: is damaged")
    assert left(tmp_path) == []


def test_a_run_is_checked_beyond_its_sums(hub: Hub, tmp_path: Path) -> None:
    """Anyone can make sums that agree; the weights have other shapes than the settings."""
    from charseq.runs.folder import publish

    run = copy_of(SOFT, tmp_path)
    about = json.loads((run / "about.json").read_bytes())
    about["settings"]["hidden"] += 1
    publish(run, {"about.json": json.dumps(about).encode()})
    hub.add("me/soft", run)
    assert_refused("hf://me/soft", "is not sound, so it is not used: model.safetensors: ")
    assert left(tmp_path) == []


def test_a_repository_without_a_run_is_no_run(hub: Hub, tmp_path: Path) -> None:
    run = copy_of(SOFT, tmp_path)
    (run / "manifest.json").unlink()
    hub.add("me/soft", run)
    assert_refused("hf://me/soft", "holds no trained model (manifest.json is missing)")
    assert left(tmp_path) == []


def test_a_missing_file_is_named(hub: Hub, tmp_path: Path) -> None:
    run = copy_of(SOFT, tmp_path)
    (run / "model.safetensors").unlink()
    hub.add("me/soft", run)
    assert_refused("hf://me/soft", "model.safetensors: it is missing, manifest.json says ")
    assert left(tmp_path) == []


def test_sizes_are_compared_before_a_download(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/soft", SOFT)
    stored = hub.repositories["me/soft"]
    stored.sizes["manifest.json"] = 2**20
    assert_refused("hf://me/soft", "manifest.json is larger than any of a run")
    assert not any("resolve" in one for one in hub.asked)
    stored.sizes = {"model.safetensors": 9 * 2**30}
    assert_refused("hf://me/soft", "it has 9,663,676,416 bytes, manifest.json says ")
    stored.sizes = {}
    monkeypatch.setattr(door, "MAX_DOWNLOAD", 1000)
    assert_refused("hf://me/soft", "more than the 1,000 of a run to download")
    assert not any("safetensors" in one for one in hub.asked)
    assert left(tmp_path) == []


def test_files_that_no_run_lists_stay_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    run = copy_of(SOFT, tmp_path)
    (run / "evil.py").write_text("raise SystemExit")
    hub.add("me/soft", run)
    download("hf://me/soft")
    assert not any("evil" in one for one in [*hub.asked, *left(tmp_path)])


def test_a_cache_that_cannot_be_made_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.add("me/soft", SOFT)
    (tmp_path / "assets").write_text("a file")
    with pytest.raises(CheckpointError, match=r"me--soft/[0-9a-f]{40}: cannot be made: "):
        download("hf://me/soft")


def test_the_run_of_a_faster_process_is_taken(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add("me/soft", SOFT)
    fetch = door._fetch

    def slow(*given: object) -> Path:
        found = fetch(*given)  # type: ignore[arg-type]
        (commit,) = (tmp_path / "assets" / "charseq" / "me--soft").iterdir()
        shutil.copytree(SOFT, commit / "soft")
        return found

    monkeypatch.setattr(door, "_fetch", slow)
    assert charseq.load(download("hf://me/soft")).name == "soft"


def test_the_command_line_takes_addresses(hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("me/soft", SOFT)
    answer = charseq.load(SOFT).predict(["abba"])[0].prediction
    code, out, err = hub.charseq(tmp_path, "predict", "-m", "hf://me/soft", "abba")
    assert (code, out) == (0, f"{answer}\n")
    assert err.split("\n")[0].endswith(f"(hf://me/soft@{commit})")
    fixed = f"hf://me/soft@{commit}"
    assert hub.charseq(tmp_path, "info", fixed, HF_ENDPOINT="http://127.0.0.1:9")[0] == 0
    code, out, _ = hub.charseq(tmp_path, "verify", fixed)
    assert (code, ": sound: " in out) == (0, True)
    code, out, err = hub.charseq(tmp_path, "predict", "-m", "hf://me/soft", "x", HF_HUB_OFFLINE="1")
    told = f"hf://me/soft: the Hub is not asked, since HF_HUB_OFFLINE is set; {fixed} is on this"
    assert (code, out, err) == (1, "", f"charseq: error: {told} machine\n")


def test_help_and_runs_here_do_not_load_the_client() -> None:
    program = "import sys, charseq; charseq.load('dates'); print('huggingface_hub' in sys.modules)"
    with hub_double() as hub:
        assert hub.run(SOFT.parent, "-c", program).stdout == "False\n"
        assert hub.asked == []
