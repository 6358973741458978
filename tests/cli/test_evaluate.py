"""``charseq evaluate``: the command, and the scores of evaluations and comparisons as lines."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from world import Storyteller, Upper, World

from charseq.cli.evaluate import describe_comparison, describe_evaluation


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


def test_unknown_values_are_left_out() -> None:
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


def test_what_the_memory_does_is_a_table_among_the_details() -> None:
    rows = [
        {"seen": "unseen", "examples": 506, "exact_match": 65.4, "interval": [61.0, 69.7],
         "model_exact_match": 65.4, "model_interval": [61.0, 69.7]},
        {"seen": "several targets", "examples": 1, "exact_match": 100.0, "interval": None,
         "model_exact_match": 0.0, "model_interval": [0.0, 95.0]},
    ]  # fmt: skip
    lines = describe_evaluation(facts(by_memory=rows), details=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("source in the memory"))
    assert lines[first].split("  ")[1:3] == ["examples", ""]
    assert lines[first].endswith("with the memory        by the model alone")
    assert [lines[first - 1], *lines[first + 1 : first + 4]] == [
        "",
        "              unseen       506  65.40 % (61.00 to 69.70)  65.40 % (61.00 to 69.70)",
        "     several targets         1                  100.00 %    0.00 % (0.00 to 95.00)",
        "",
    ]
    assert describe_evaluation(facts(by_memory=rows)) == SHORT


def test_without_errors_there_are_no_tables_of_edits() -> None:
    none = {"count": 0, "most": []}
    kinds = {"substitutions": none, "deletions": none, "insertions": none}
    lines = describe_evaluation(facts(confusions={"edits": 0, **kinds}), details=True)
    assert lines[-2:] == ["", "0 edits"]


# --- probabilities


COVERAGE = [
    {"error": 1, "coverage": 67.0, "rows": 335, "threshold": 0.9275, "interval": [50.594, 73.8]},
    {"error": 5, "coverage": 100.0, "rows": 500, "threshold": 0.0, "interval": None},
]
ROWS_ANSWERED = [
    "",
    "wrong at most  rows answered              from probability",
    "          1 %  67.00 %  (50.59 to 73.80)  0.9275",
    "          5 %  100.00 %                   0",
]


def test_the_rows_that_can_be_answered_are_a_table_below_the_summary() -> None:
    assert describe_evaluation(facts(coverage=COVERAGE)) == [*SHORT, *ROWS_ANSWERED]


def test_where_no_row_can_be_answered_that_is_told() -> None:
    none = {"error": 1, "coverage": 0.0, "rows": 0, "threshold": None, "interval": None}
    assert describe_evaluation(facts(coverage=[none]))[-1] == "          1 %  0.00 %         none"


def test_the_areas_have_four_decimals_and_what_is_undefined_is_told() -> None:
    scores = {"aurc": 0.00083, "excess_aurc": 0.0, "auroc": None, "sampled": None}
    intervals = {"aurc": [0.00001, 0.0027], "excess_aurc": None, "auroc": None}
    intervals |= {"confidence": 95, "sources": 9}
    assert describe_evaluation(scores | {"intervals": intervals}) == [
        "aurc         0.0008 %  (0.0000 to 0.0027)",
        "excess aurc  0.0000 %",
        "auroc        undefined",
        "intervals    95 %, bootstrap over 9 sources",
    ]


def test_answers_to_strangers_are_a_table() -> None:
    row = {"threshold": 0.5, "answered": 1200, "share": 60.0, "coverage": 99.0, "risk": 0.25}
    last = {"threshold": 0.99, "answered": 0, "share": 0.0, "coverage": 0.0, "risk": None}
    found = {
        "data": "s.txt", "texts": 2000, "refused": 3, "auroc": 94.5, "interval": [88.9, 98.304],
        "thresholds": [row, last],
    }  # fmt: skip
    area = "94.50 %  (88.90 to 98.30)"
    lines = describe_evaluation(facts(strangers=found))
    assert lines == [
        *SHORT,
        "",
        f"2,000 strangers, 3 without an answer; auroc of rows and strangers {area}",
        "from probability  strangers answered   of all  rows answered  of them wrong",
        "             0.5               1,200  60.00 %        99.00 %         0.25 %",
        "            0.99                   0   0.00 %         0.00 %  none answered",
    ]
    unknown = found | {"auroc": None, "interval": None}
    assert "; auroc of rows and strangers undefined" in "".join(
        describe_evaluation(facts(strangers=unknown))
    )


def test_the_rows_of_both_models_are_among_the_details() -> None:
    both = comparison()
    both["models"] = [one | {"coverage": COVERAGE} for one in both["models"]]
    assert "wrong at most" not in "".join(describe_comparison(both))
    assert describe_comparison(both, details=True).count(ROWS_ANSWERED[2]) == 2


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


def test_the_verdict_names_the_better_model_or_none() -> None:
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


# --- the command


SCORES = {
    "run": "checkpoints/x", "parameters": 1234567, "seconds": 60.0, "epochs": 3, "examples": 2000,
    "exact_match": 98.5, "wer": 1.5, "ser": 0.25, "signature": "charseq:0.1.0|beam:5",
}  # fmt: skip


def test_evaluate_prints_a_table_or_an_object(world: World) -> None:
    calls: list[dict[str, Any]] = []

    def evaluate(data: str, **options: Any) -> dict[str, Any]:
        calls.append({"data": data, **options})
        return SCORES

    world.replace("evaluation.evaluate", evaluate=evaluate)
    code, out, err = world.run(
        *shlex.split(
            "evaluate D -m R --split dev --beam 2 --errors E.tsv --json --header no "
            "--bad-rows skip --strangers S.csv --strangers-column t --plot p.svg"
        )
    )
    assert (code, err) == (0, "drawn p.svg\n")
    assert out.count("\n") == 1
    assert json.loads(out) == SCORES
    assert callable(calls[0].pop("report"))
    assert callable(calls[0].pop("watch"))
    assert calls == [
        {
            "data": "D",
            "model": world.model,
            "split": "dev",
            "beam": 2,
            "errors": Path("E.tsv"),
            "strangers": "S.csv",
            "strangers_column": "t",
            "plot": Path("p.svg"),
            "force": False,
            "adapt": False,
            "reading": {"header": "no", "bad_rows": "skip"},
        }
    ]
    code, out, err = world.run("evaluate", "D")
    assert (code, err) == (0, "")
    assert re.search(r"^exact match +98\.50 %$", out, flags=re.MULTILINE)
    assert re.search(r"^parameters +1,234,567$", out, flags=re.MULTILINE)
    assert re.search(r"^signature +charseq:0\.1\.0\|beam:5$", out, flags=re.MULTILINE)
    assert calls[1]["split"] is None


def test_evaluate_adds_tables_where_they_are_asked_for(world: World) -> None:
    none = {"count": 0, "most": []}
    kinds = {"substitutions": none, "deletions": none, "insertions": none}
    tables = {
        "top_k": [{"k": 1, "exact_match": 98.5}],
        "by_length": [{"shortest": 2, "longest": 9, "examples": 2000, "exact_match": 98.5}],
        "confusions": {"edits": 0, **kinds},
    }
    world.replace("evaluation.evaluate", evaluate=lambda _data, **_options: SCORES | tables)
    code, out, err = world.run("evaluate", "D")
    assert (code, err) == (0, "")
    assert out.count("\n") == len(SCORES)
    code, more, err = world.run("evaluate", "D", "--details")
    assert (code, err) == (0, "")
    assert more.startswith(out)
    assert "               2 to 9     2,000      98.50 %\n" in more
    code, out, _ = world.run("evaluate", "D", "--json")
    assert (code, json.loads(out)) == (0, SCORES | tables)


def test_evaluate_compares_two_models(world: World) -> None:
    calls: list[dict[str, Any]] = []
    found = {
        "both_right": 9, "only_first": 0, "only_second": 1, "both_wrong": 0,
        "exact_match": {"difference": 10.0, "interval": None, "p": 1.0}, "ser": None,
        "better": None,
    }  # fmt: skip
    intervals = {"confidence": 95, "sources": 10}
    score = SCORES | {"data": "D", "split": "dev", "intervals": intervals}
    both = {"data": "D", "split": "dev", "examples": 10, "comparison": found}
    both["models"] = [score, score | {"run": "checkpoints/y"}]

    def compare(data: str, **options: Any) -> dict[str, Any]:
        calls.append({"data": data, **options})
        return both

    world.replace("evaluation.evaluate", compare=compare)
    words = shlex.split("evaluate D -m R -m S --split dev --beam 2")
    code, out, err = world.run(*words)
    assert (code, err) == (0, "")
    assert world.loaded == ["R", "S"]
    assert callable(calls[0].pop("report"))
    assert callable(calls[0].pop("watch"))
    assert calls == [
        {
            "data": "D",
            "models": (world.model, world.model),
            "split": "dev",
            "beam": 2,
            "plot": None,
            "force": False,
            "reading": {},
        }
    ]
    assert re.search(r"^run +checkpoints/x +checkpoints/y$", out, flags=re.MULTILINE)
    assert out.endswith("not distinguishable by exact match, p = 1\n")
    assert json.loads(world.run(*words, "--json")[1]) == both


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-m A -m B -m C", "--model names 3 runs, expected one, or two to compare"),
        ("-m A -m B --errors E", "--errors is for one model"),
        ("-m A -m B --strangers S", "--strangers is for one model"),
    ],
)
def test_evaluate_takes_one_model_or_two(world: World, words: str, said: str) -> None:
    code, out, err = world.run("evaluate", "D", *shlex.split(words))
    assert (code, out, err) == (2, "", f"charseq: error: {said}\n")
    assert world.loaded == []


FIGURES = {
    "run": "runs/story", "words": 2009, "perplexity": 68.7712, "hit_at_1": 17.961,
    "keystrokes_saved": 44.641, "oov": 6.1, "sampled": None, "signature": "s",
}  # fmt: skip


def test_evaluate_prints_the_scores_of_a_language_model(world: World) -> None:
    calls: list[dict[str, Any]] = []

    def evaluate(data: str, **options: Any) -> dict[str, Any]:
        calls.append(options)
        return FIGURES

    world.model = Storyteller()
    world.replace("evaluation.evaluate", evaluate=evaluate)
    table = (
        "run               runs/story\nwords             2,009\nperplexity        68.77\n"
        "hit at 1          17.96 %\nkeystrokes saved  44.64 %\noov               6.10 %\n"
        "signature         s\n"
    )
    assert world.run("evaluate", "D") == (0, table, "")
    code, out, _ = world.run("evaluate", "D", "--json")
    assert (code, json.loads(out)) == (0, FIGURES)
    world.patch.setenv("CHARSEQ_BEAM", "3")
    world.run("evaluate", "D")
    world.run("evaluate", "D", "--beam", "2")
    code, out, err = world.run("evaluate", "D", "--details")
    assert (code, out) == (2, "")
    assert err == "charseq: error: --details is for runs of pairs; this run predicts words\n"
    assert [options["beam"] for options in calls] == [None, None, None, 2]
    world.model = Upper()
    world.run("evaluate", "D")
    assert calls[-1]["beam"] == 3


def test_evaluate_loads_the_model_on_the_device(world: World) -> None:
    world.replace("evaluation.evaluate", evaluate=lambda *_, **__: SCORES)
    world.run("evaluate", "data/", "--json")
    assert world.chosen == {}
    world.run("evaluate", "data/", "--json", "--device", "cuda")
    assert world.chosen == {"device": "cuda"}
