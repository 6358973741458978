"""Runs that are pushed to a local double of the Hub, and come back as they were."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from frozen import FIXTURES
from hub_double import TOKEN, Hub, hub_double

from charseq.errors import CheckpointError, UsageError
from charseq.export.hub import push
from charseq.inference.verify import verify
from charseq.runs.folder import publish

SOFT, WORDS = FIXTURES / "soft", FIXTURES / "words"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_double() as double:
        yield double


def stored(hub: Hub, name: str) -> dict[str, bytes]:
    """The files of the last commit of a repository."""
    found = hub.repositories[name]
    return found.commits[found.revisions["main"]]


def test_a_run_comes_back_as_it_was(hub: Hub, tmp_path: Path) -> None:
    words = ["push", str(SOFT), "me/soft", "--license", "mit", "--language", "hr"]
    code, out, err = hub.charseq(tmp_path, *words, HF_TOKEN=TOKEN)
    commit = hub.repositories["me/soft"].revisions["main"]
    assert (code, out) == (0, f"hf://me/soft@{commit}\n")
    assert err.endswith(f"pushed     hf://me/soft@{commit}\n")
    assert any(one.startswith("PUT /upload/") for one in hub.asked), "weights go by LFS"
    files = stored(hub, "me/soft")
    for name in ("about.json", "model.safetensors", "metrics.jsonl"):
        assert files[name] == (SOFT / name).read_bytes()
    assert set(files) == {
        ".gitattributes", "README.md", "about.json", "manifest.json", "metrics.jsonl",
        "model.safetensors",
    }  # fmt: skip
    head = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert (head["license"], head["language"]) == ("mit", ["hr"])
    assert b"charseq predict -m hf://me/soft" in files["README.md"]
    here = hub.charseq(tmp_path, "predict", "--json", "-m", str(SOFT), "abc")
    there = hub.charseq(tmp_path, "predict", "--json", "-m", "hf://me/soft", "abc", HF_TOKEN=TOKEN)
    assert here[0] == there[0] == 0
    assert here[1] == there[1]


def test_a_clone_of_the_repository_is_a_run(hub: Hub, tmp_path: Path) -> None:
    assert hub.charseq(tmp_path, "push", str(WORDS), "me/words", HF_TOKEN=TOKEN)[0] == 0
    clone = tmp_path / "words"
    clone.mkdir()
    for name, content in stored(hub, "me/words").items():
        (clone / name).write_bytes(content)
    found = verify(clone)
    assert found.faults == []
    assert found.notes == [f"{clone}/'.gitattributes': is not listed, and never read"]


def test_a_new_repository_is_private_unless_it_is_to_be_public(hub: Hub, tmp_path: Path) -> None:
    hub.charseq(tmp_path, "push", str(SOFT), "me/mine", HF_TOKEN=TOKEN)
    hub.charseq(tmp_path, "push", str(SOFT), "me/ours", "--public", HF_TOKEN=TOKEN)
    assert hub.repositories["me/mine"].private
    assert not hub.repositories["me/ours"].private
    assert hub.charseq(tmp_path, "predict", "-m", "hf://me/ours", "abc")[0] == 0
    code, _, err = hub.charseq(tmp_path, "predict", "-m", "hf://me/mine", "abc")
    assert (code, err.count("\n")) == (1, 1)


def test_a_second_push_is_a_commit_of_its_own(hub: Hub, tmp_path: Path) -> None:
    first = hub.charseq(tmp_path, "push", str(SOFT), "me/model", HF_TOKEN=TOKEN)[1].strip()
    again = ["push", str(WORDS), "me/model", "--public", "--message", "words"]
    second = hub.charseq(tmp_path, *again, HF_TOKEN=TOKEN)[1].strip()
    assert hub.repositories["me/model"].messages[1:] == ["Push model by charseq", "words"]
    assert hub.repositories["me/model"].private, "it stays as it is"
    told = [
        hub.charseq(tmp_path, "info", "--json", one, HF_TOKEN=TOKEN)[1] for one in (first, second)
    ]
    assert ["units" in json.loads(one) for one in told] == [False, True]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "hf://me/soft: the Hub does not allow it (401): log in with `hf auth login`, or set"),
        ({"HF_TOKEN": "hf_wrong"}, "hf://me/soft: the Hub does not allow it (401): log in with"),
        (
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "hf://me/soft: the Hub (http://127.0.0.1:9) cannot",
        ),
        (
            {"HF_HUB_OFFLINE": "1"},
            "hf://me/soft: the Hub is not asked, since HF_HUB_OFFLINE is set",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: Hub, tmp_path: Path, changes: dict[str, str], told: str
) -> None:
    code, out, err = hub.charseq(tmp_path, "push", str(SOFT), "me/soft", "-q", **changes)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"charseq: error: {told}")
    assert "hf_wrong" not in err
    assert hub.repositories == {}


def test_a_dry_run_makes_the_files_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    lines: list[str] = []
    facts = push(SOFT, "me/soft", license="mit", dry_run=True, report=lines.append)
    assert facts["commit"] is None
    assert facts["repository"] == "me/soft"
    assert facts["files"]["model.safetensors"] == (SOFT / "model.safetensors").stat().st_size
    assert facts["card"].startswith("---\nlicense: mit\n")
    assert lines == [f"{SOFT}: 5 files, {sum(facts['files'].values()) / 1e6:.1f} MB"]


def test_files_that_a_model_in_use_does_not_need_stay_here(tmp_path: Path) -> None:
    run = tmp_path / "soft"
    shutil.copytree(SOFT, run)
    publish(run, {"kept.1.safetensors": (SOFT / "model.safetensors").read_bytes()})
    (run / "notes.txt").write_text("mine")
    before = {one.name: one.read_bytes() for one in run.iterdir()}
    assert "kept.1.safetensors" in before
    facts = push(run, "me/soft", dry_run=True)
    assert not {"kept.1.safetensors", "notes.txt"} & facts["files"].keys()
    assert {one.name: one.read_bytes() for one in run.iterdir()} == before


def test_a_run_that_is_not_sound_is_not_pushed(tmp_path: Path) -> None:
    run = tmp_path / "soft"
    shutil.copytree(SOFT, run)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b" ")
    with pytest.raises(
        CheckpointError, match=r"is not sound, so it is not pushed: .*metrics\.jsonl"
    ):
        push(run, "me/soft", dry_run=True)


def test_a_run_that_is_not_finished_is_not_pushed(tmp_path: Path) -> None:
    run = tmp_path / "soft"
    shutil.copytree(SOFT, run)
    about = json.loads((run / "about.json").read_bytes()) | {"finished": False}
    publish(run, {"about.json": json.dumps(about).encode()})
    with pytest.raises(CheckpointError, match="is not finished, so it is not pushed"):
        push(run, "me/soft", dry_run=True)


@pytest.mark.parametrize(
    ("repository", "options"),
    [
        ("soft", {}),
        ("me/soft@v1", {}),
        ("me/soft/x", {}),
        ("me/soft", {"license": "My Licence"}),
        ("me/soft", {"languages": ["Croatian"]}),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_read(
    repository: str, options: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        push("nothing", repository, **options)  # type: ignore[arg-type]
