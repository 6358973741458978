"""Lines for people of evaluations and comparisons: all numbers, aligned, and nothing unseen."""

from __future__ import annotations

from typing import Any

from charseq.cli.scorecard import describe_comparison, describe_evaluation


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "run": "runs/a", "parameters": 1234567, "seconds": 60.0, "data": "d", "split": "test",
        "examples": 2000, "exact_match": 98.5, "wer": 1.5, "ser": 0.25, "ece": 4.0,
        "intervals": {
            "exact_match": [97.9, 99.05], "wer": [0.95, 2.1], "ser": None,
            "confidence": 95, "sources": 1860, "resamples": 2000, "seed": 1,
        },
        "top_k": [{"k": 1, "exact_match": 98.5}, {"k": 5, "exact_match": 100.0}],
        "by_length": [
            {"shortest": 1, "longest": 4, "examples": 1990, "exact_match": 98.0},
            {"shortest": 5, "longest": 5, "examples": 10, "exact_match": 90.0},
        ],
        "confusions": {
            "edits": 1200,
            "substitutions": {"count": 1198, "most": [
                {"reference": " ", "written": "\u0301", "count": 1100, "share": 91.666},
                {"reference": "\u200b", "written": "t͡ʃ", "count": 98, "share": 8.1666},
            ]},
            "deletions": {"count": 1, "most": [
                {"reference": "h", "written": "", "count": 1, "share": 0.0833},
            ]},
            "insertions": {"count": 1, "most": [
                {"reference": "", "written": "x", "count": 1, "share": 0.0833},
            ]},
        },
        "beam": 5, "signature": "s:1", **changes,
    }  # fmt: skip


SHORT = [
    "run          runs/a",
    "parameters   1,234,567",
    "seconds      60.00",
    "data         d",
    "split        test",
    "examples     2,000",
    "exact match  98.50 %  (97.90 to 99.05)",
    "wer          1.50 %  (0.95 to 2.10)",
    "ser          0.25 %",
    "ece          4.00 %",
    "intervals    95 %, bootstrap over 1,860 sources",
    "beam         5",
    "signature    s:1",
]


def test_the_summary_has_scores_with_their_intervals() -> None:
    assert describe_evaluation(facts()) == SHORT


def test_what_is_not_known_is_left_out() -> None:
    words = {"run": "r", "words": 2009, "hit_at_1": 17.961, "sampled": None, "signature": "s"}
    assert describe_evaluation(words) == [
        "run        r",
        "words      2,009",
        "hit at 1   17.96 %",
        "signature  s",
    ]


def test_details_are_tables_below_the_summary() -> None:
    assert describe_evaluation(facts(), details=True) == [
        *SHORT,
        "",
        "right among the first",
        "                    1   98.50 %",
        "                    5  100.00 %",
        "",
        "symbols of the source  examples  exact match",
        "               1 to 4     1,990      98.00 %",
        "                    5        10      90.00 %",
        "",
        "1,200 edits: 1,198 substitutions, 1 deletion, 1 insertion",
        "",
        "substitutions  of all edits",
        "        1,100       91.67 %  ␣ → ◌\u0301",
        "           98        8.17 %  U+200B → t͡ʃ",
        "",
        "deletions  of all edits",
        "        1        0.08 %  h left out",
        "",
        "insertions  of all edits",
        "         1        0.08 %  x added",
    ]


def test_nothing_wrong_has_no_tables_of_edits() -> None:
    none = {"count": 0, "most": []}
    kinds = {"substitutions": none, "deletions": none, "insertions": none}
    lines = describe_evaluation(facts(confusions={"edits": 0, **kinds}), details=True)
    assert lines[-2:] == ["", "0 edits"]


def comparison(**changes: Any) -> dict[str, Any]:
    found = {
        "both_right": 1960, "only_first": 2, "only_second": 12, "both_wrong": 26,
        "exact_match": {"difference": 0.5, "interval": [0.1, 0.85], "p": 0.0129},
        "ser": {"difference": -0.1, "interval": [-0.2, 0.01], "p": 0.0001},
        "better": "second", "confidence": 95, "sources": 1860, "resamples": 2000, "seed": 1,
        **changes,
    }  # fmt: skip
    models = [facts(), facts(run="runs/longer", exact_match=99.0, signature="s:2")]
    return {"data": "d", "split": "test", "examples": 2000, "models": models, "comparison": found}


BESIDE = [
    "data              d",
    "split             test",
    "examples          2,000",
    "intervals         95 %, bootstrap over 1,860 sources",
    "                  first                      second",
    "run               runs/a                     runs/longer",
    "parameters        1,234,567                  1,234,567",
    "seconds           60.00                      60.00",
    "exact match       98.50 %  (97.90 to 99.05)  99.00 %  (97.90 to 99.05)",
    "wer               1.50 %  (0.95 to 2.10)     1.50 %  (0.95 to 2.10)",
    "ser               0.25 %                     0.25 %",
    "ece               4.00 %                     4.00 %",
    "beam              5                          5",
    "signature first   s:1",
    "signature second  s:2",
    "both right        1,960",
    "only first        2",
    "only second       12",
    "both wrong        26",
]


def test_two_models_stand_side_by_side() -> None:
    assert describe_comparison(comparison()) == [
        *BESIDE,
        "first to second   +0.50 points of exact match (+0.10 to +0.85), p = 0.0129",
        "                  -0.10 points of ser (-0.20 to +0.01), p < 0.001",
        "verdict           runs/longer is better by 0.50 points of exact match, p = 0.0129",
    ]


def test_the_first_can_be_better_and_what_chance_explains_is_said() -> None:
    worse = {"difference": -0.5, "interval": [-0.9, -0.1], "p": 0.01}
    last = describe_comparison(comparison(exact_match=worse, better="first"))[-1]
    assert last.endswith("  runs/a is better by 0.50 points of exact match, p = 0.01")
    same = {"difference": 0.0, "interval": None, "p": 1.0}
    lines = describe_comparison(comparison(exact_match=same, ser=None, better=None))
    assert lines == [
        *BESIDE,
        "first to second   +0.00 points of exact match, p = 1",
        "verdict           not distinguishable by exact match, p = 1",
    ]


def test_details_of_both_follow() -> None:
    lines = describe_comparison(comparison(), details=True)
    assert lines[: len(BESIDE)] == BESIDE
    assert lines.count("right among the first") == 2
    assert lines.index("runs/a") < lines.index("runs/longer")
