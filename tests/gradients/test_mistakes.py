"""Each slip, written out entry by entry as the sheet has it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from charseq.gradients import derivations, mistakes

Array = NDArray[np.float64]
T, H = 3, 2


def draw(**shapes: tuple[int, ...]) -> dict[str, Array]:
    random = np.random.default_rng(7)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def given_a() -> dict[str, Array]:
    """As many outputs as hidden units."""
    matrices = draw(W_xh=(H, 4), W_hh=(H, H), W_hz=(H, H), b_h=(H,), b_z=(H,), h_0=(H,), x=(T, 4))
    return matrices | {"y": np.eye(H)[[0, 1, 1]]}


def given_f() -> dict[str, Array]:
    weights = draw(W_xh=(H, 4), W_hh=(H, H), W_hy=(3, H), b_h=(H,), b_y=(3,), h_0=(H,), x=(T, 4))
    return weights | draw(targets=(T, 3))


def close(one: object, other: object) -> None:
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-12, atol=1e-12)


def test_the_mistakes_of_a() -> None:
    given = given_a()
    values, gradients = derivations.tanh_rnn(**given)
    found = mistakes.tanh_rnn(given, values, gradients)
    assert set(found) == {"E", "∂E/∂h_3", "∂E/∂W_hh(3)", "∂E/∂W_hh"}
    # Σ y log z without the minus sign
    close(found["E"].value, sum(given["y"][t - 1] @ np.log(values[f"z_{t}"]) for t in (1, 2, 3)))
    # ∂o_t/∂h_t = h_t, so that ∂E/∂h_t is a product entry by entry
    error = values["z_3"] - given["y"][2]
    close(found["∂E/∂h_3"].value, [values["h_3"][i] * error[i] for i in range(H)])
    # 1 - h_t² h_{t-1} for (1 - h_t²) h_{t-1}
    delta, h_3, h_2 = gradients["∂E/∂h_3"], values["h_3"], values["h_2"]
    bracket = [[delta[i] * (1 - h_3[i] ** 2 * h_2[j]) for j in range(H)] for i in range(H)]
    close(found["∂E/∂W_hh(3)"].value, bracket)
    # at each step only what the error of that very step says
    immediate = np.zeros((H, H))
    for t in (1, 2, 3):
        direct = given["W_hz"].T @ (values[f"z_{t}"] - given["y"][t - 1])
        for i in range(H):
            slope = 1 - values[f"h_{t}"][i] ** 2
            immediate[i] += direct[i] * slope * values[f"h_{t - 1}"]
    close(found["∂E/∂W_hh"].value, immediate)


def test_the_immediate_terms_are_all_there_is_in_one_step() -> None:
    given = given_a()
    given |= {"x": given["x"][:1], "y": given["y"][:1]}
    values, gradients = derivations.tanh_rnn(**given)
    found = mistakes.tanh_rnn(given, values, gradients)
    close(found["∂E/∂W_hh"].value, gradients["∂E/∂W_hh"])


def test_the_slip_of_c_is_a_name() -> None:
    given = draw(x=(2, 3), W_x=(4, 3), W_H=(4, 4), W_y=(5, 4)) | {"y": np.eye(5)[:2]}
    found = mistakes.double_sum(given, *derivations.double_sum(**given))
    assert found["shape of W_y"].value.tolist() == [4, 4]


def test_the_column_of_d() -> None:
    given = {"x": [10, 10], "y": [5, 5], "w_x": 0.1, "w_h": 1, "w_y": 2, "h_0": 1}
    given = {name: np.array(value, float) for name, value in given.items()}
    found = mistakes.linear_rnn(given, *derivations.linear_rnn(**given))
    assert {name: float(slip.value) for name, slip in found.items()} == {
        "h_1": 2, "h_2": 3, "ŷ_1": 2, "ŷ_2": 6, "L": 10, "∂L/∂h_1": -8, "∂L/∂w_h": -4,
    }  # fmt: skip
    right = {"h_1", "h_2", "ŷ_2"}
    assert {name for name, slip in found.items() if not slip.why} == right


def test_the_mistakes_of_f() -> None:
    given = given_f()
    values, gradients = derivations.sigmoid_rnn(**given)
    found = mistakes.sigmoid_rnn(given, values, gradients)
    assert set(found) == {"∂L/∂W_xh", "∂L/∂W_hh"}
    slope = {t: values[f"h_{t}"] * (1 - values[f"h_{t}"]) for t in (1, 2, 3)}
    by_x, by_h = np.zeros((H, 4)), np.zeros((H, H))
    for t in (1, 2, 3):
        for k in range(1, t + 1):
            chain = gradients[f"∂L_{t}/∂h_{t}"]
            for j in range(t, k, -1):
                chain = chain @ np.diag(slope[j]) @ given["W_hh"]
            named = 2 if (t, k) == (3, 1) else k  # the last term
            by_x += np.outer(chain * slope[named], given["x"][named - 1])
            if k > 1:  # h_0 stands in the terms of k = 1
                by_h += np.outer(chain * slope[k], values[f"h_{k - 1}"])
    close(found["∂L/∂W_xh"].value, by_x)
    close(found["∂L/∂W_hh"].value, by_h)


def test_leaving_out_h_0_is_right_where_it_is_zero() -> None:
    given = given_f() | {"h_0": np.zeros(H)}
    values, gradients = derivations.sigmoid_rnn(**given)
    found = mistakes.sigmoid_rnn(given, values, gradients)
    assert np.array_equal(found["∂L/∂W_hh"].value, gradients["∂L/∂W_hh"])


@pytest.mark.parametrize("sheet", ["A", "C", "D", "F"])
def test_each_sheet_with_mistakes_has_its_function(sheet: str) -> None:
    assert f"Sheet {sheet}" in str(mistakes.MISTAKES[sheet].__doc__)
    assert set(mistakes.MISTAKES) == {"A", "C", "D", "F"}


def test_a_slip_knows_no_other_module() -> None:
    tree = ast.parse(Path(mistakes.__file__).read_text(encoding="utf-8"))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if str(name).startswith(("charseq", "torch"))]
