"""The head of a model card: what the Hub reads, and nothing that a stranger adds."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard

from charseq.errors import UsageError
from charseq.runs.card_head import Owner, head, owned

SCORES = {"examples": 1234, "exact_match": 98.25, "wer": 1.75, "ser": 0.5}
PAIRS: dict[str, Any] = {
    "settings": {"task": "pairs", "attention": "hard"},
    "data": {"name": "pairs", "fingerprint": "0123456789abcdef" * 4},
    "scores": SCORES,
}
WORDS: dict[str, Any] = {**PAIRS, "settings": {"task": "next-word"}, "scores": {"perplexity": 12.5}}


def read(name: str = "mine", metadata: dict[str, Any] = PAIRS, **owner: Any) -> dict[str, Any]:
    """The head as the Hub reads it."""
    text = head(name, metadata, Owner(**owner))
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    found: dict[str, Any] = yaml.safe_load(text.removeprefix("---\n").removesuffix("---\n"))
    return found


def test_unknown_languages_are_left_out_and_an_unknown_licence_is_said() -> None:
    found = read()
    assert found["license"] == "unknown"
    assert "language" not in found
    found = read(license="cc-by-4.0", languages=("no", "sr-Latn"))
    assert (found["license"], found["language"]) == ("cc-by-4.0", ["no", "sr-Latn"])


@pytest.mark.parametrize(
    ("metadata", "pipeline", "tags"),
    [
        (
            PAIRS, "text2text-generation",
            ["charseq", "rnn", "character-level", "sequence-to-sequence", "hard-attention"],
        ),
        (WORDS, "text-generation", ["charseq", "rnn", "language-model"]),
        (
            {**PAIRS, "settings": {"attention": "none", "ensemble": 3}}, "text2text-generation",
            ["charseq", "rnn", "character-level", "sequence-to-sequence", "ensemble"],
        ),
    ],
)  # fmt: skip
def test_the_kind_of_model_is_found_by_its_tags(
    metadata: dict[str, Any], pipeline: str, tags: list[str]
) -> None:
    found = read(metadata=metadata)
    assert found["library_name"] == "charseq"
    assert (found["pipeline_tag"], found["tags"]) == (pipeline, tags)


def test_scores_are_results_of_the_hub() -> None:
    card = ModelCard(head("mine", PAIRS))
    results: list[EvalResult] = card.data.eval_results or []
    assert [(one.metric_type, one.metric_value, one.metric_name) for one in results] == [
        ("exact_match", 98.25, "exact match, %"),
        ("ser", 0.5, "symbol error rate, %"),
    ]
    assert {one.dataset_name for one in results} == {"pairs"}
    assert {one.dataset_split for one in results} == {"dev"}
    assert {one.dataset_type for one in results} == {"sha256-0123456789abcdef"}
    assert card.data.model_name == "mine"
    assert card.data.metrics == ["exact_match", "ser"]
    (words,) = ModelCard(head("mine", WORDS)).data.eval_results or []
    assert (words.metric_type, words.metric_value) == ("perplexity", 12.5)


def test_a_run_without_scores_has_no_results() -> None:
    found = read(metadata={**PAIRS, "scores": {}})
    assert not found.keys() & {"metrics", "model-index"}


@pytest.mark.parametrize(
    "name",
    [
        "a\nlicense: mit", "---", '"quoted" \\ text', "{a: b}", "# comment", "null", "no", "1.5",
        "\u2028line", "zero\u200bwidth", "\x85next", "tab\t", "x" * 500, "😀", "\ud800",
        "naïve: ключ", "!!python/object:x",
    ],
)  # fmt: skip
def test_names_of_strangers_add_no_key_and_stay_texts(name: str) -> None:
    plain = read()
    found = read(name, {**PAIRS, "data": {**PAIRS["data"], "name": name}})
    assert found.keys() == plain.keys()
    assert found["license"] == "unknown"
    (model,) = found["model-index"]
    told = [model["name"], model["results"][0]["dataset"]["name"]]
    assert all(isinstance(one, str) and one.isprintable() for one in told)
    if name.isprintable() and len(name) < 200:
        assert told == [name, name]


@pytest.mark.parametrize("license", ["MIT", "my licence", "", "a\nb", "x" * 65, "-mit"])
def test_another_text_is_no_licence(license: str) -> None:
    with pytest.raises(UsageError, match=r"^the licence is '.*', expected an identifier"):
        owned(license, ())


@pytest.mark.parametrize("language", ["Croatian", "HR", "h", "", "hr,sr", "hr\n", "croatian"])
def test_another_text_is_no_language(language: str) -> None:
    with pytest.raises(UsageError, match=r"^the language is '.*', expected a code"):
        owned(None, ["hr", language])


def test_facts_of_the_owner_are_taken_as_they_are() -> None:
    assert owned("mit", ["hr", "sr-Latn"]) == Owner("mit", ("hr", "sr-Latn"))
    assert owned(None, []) == Owner()
