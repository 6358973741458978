"""Mistakes of the worked sheets: the wrong values that they lead to, and the reasons.

Every function takes the given vectors and matrices, the forward values and the right gradients of
a sheet, by their names on the sheet. Each mistake is made alone, with everything else right, so
that its effect is seen by itself. Sheets B and E have no mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Named = Mapping[str, Array]


class Mistake(NamedTuple):
    """The value that the sheet has for a quantity; ``why`` is empty if the value is right."""

    value: Array
    why: str


def tanh_rnn(given: Named, values: Named, gradients: Named) -> dict[str, Mistake]:
    """Sheet A: four mistakes.

        E = Σ_t Σ_k y_{t,k} log z_{t,k}                    without the minus sign
        ∂o_t/∂h_t = h_t                                    in place of W_hz
        ∂⁺h_t/∂W_hh = (1 - h_t²·h_{t-1})                   in place of (1 - h_t²) h_{t-1}
        ∂E/∂W_hh = Σ_t ∂E_t/∂h_t ∂⁺h_t/∂W_hh               without the sum over k < t

    The second has a meaning only if there are as many outputs as hidden units.
    """
    T = len(given["x"])
    h = [values[f"h_{t}"] for t in range(T + 1)]
    dE_do = [gradients[f"∂E/∂o_{t}"] for t in range(1, T + 1)]
    delta = gradients[f"∂E/∂h_{T}"]
    immediate = [
        np.outer((1 - h[t] * h[t]) * (given["W_hz"].T @ dE_do[t - 1]), h[t - 1])
        for t in range(1, T + 1)
    ]
    return {
        "E": Mistake(-values["E"], "the minus sign is missing, so that less error is more E"),
        f"∂E/∂h_{T}": Mistake(h[T] * dE_do[-1], f"∂o_{T}/∂h_{T} is written h_{T}; it is W_hz"),
        f"∂E/∂W_hh({T})": Mistake(
            delta[:, None] * (1 - np.outer(h[T] * h[T], h[T - 1])),
            f"tanh' stands inside the bracket, (1 - h_{T}²·h_{T - 1}); "
            f"it is (1 - h_{T}²) h_{T - 1}",
        ),
        "∂E/∂W_hh": Mistake(
            np.asarray(sum(immediate)),
            "only the immediate terms are kept, the sum over earlier steps is lost",
        ),
    }


def double_sum(given: Named, values: Named, gradients: Named) -> dict[str, Mistake]:
    """Sheet C: the output matrix is called W_H, the name of the H×H matrix."""
    del values, gradients  # the mistake is one of a name
    rows, columns = given["W_H"].shape
    why = f"the output matrix is called W_H as well, which is {rows}×{columns}"
    return {"shape of W_y": Mistake(np.array([rows, columns]), why)}


def linear_rnn(given: Named, values: Named, gradients: Named) -> dict[str, Mistake]:
    """Sheet D, in its numbers: ŷ_1 = w_h h_1 in place of w_y h_1, and 2·2·3 written as 8."""
    del gradients  # all wrong values follow from ŷ_1
    w_h, w_y = given["w_h"], given["w_y"]
    y_hat = [w_h * values["h_1"], w_y * values["h_2"]]
    error = [2 * (y_hat[t] - given["y"][t]) for t in range(2)]
    written = 8  # 2 (ŷ_2 - y_2) w_y (h_1 + w_h h_0) = 2·2·3
    follows = "follows from ŷ_1"
    return {
        "h_1": Mistake(values["h_1"], ""),
        "h_2": Mistake(values["h_2"], ""),
        "ŷ_1": Mistake(y_hat[0], "w_h is used in place of w_y"),
        "ŷ_2": Mistake(y_hat[1], ""),
        "L": Mistake(sum((y_hat[t] - given["y"][t]) ** 2 for t in range(2)), follows),
        "∂L/∂h_1": Mistake(w_y * error[0] + w_h * w_y * error[1], follows),
        "∂L/∂w_h": Mistake(
            error[0] * w_y * given["h_0"] + written, f"{follows}, and 2·2·3 is written {written}"
        ),
    }


def sigmoid_rnn(given: Named, values: Named, gradients: Named) -> dict[str, Mistake]:
    """Sheet F: two mistakes in sums over steps k.

    ∂L/∂W_xh: the term t = T, k = 1 names h_2 in place of h_1. ∂L/∂W_hh: the terms k = 1, which
    hold h_0, are missing.
    """
    T = len(given["x"])
    slope = [values[f"h_{t}"] * (1 - values[f"h_{t}"]) for t in range(T + 1)]  # σ'(a_t) from 1 on
    dL_dh_1 = gradients[f"∂L_{T}/∂h_{T}"]
    for t in range(T, 1, -1):
        dL_dh_1 = dL_dh_1 @ gradients[f"∂h_{t}/∂h_{t - 1}"]
    x_1, x_2 = given["x"][:2]
    right, wrong = np.outer(dL_dh_1 * slope[1], x_1), np.outer(dL_dh_1 * slope[2], x_2)
    through_h_0 = np.outer(gradients["∂L/∂h_1"] * slope[1], values["h_0"])
    return {
        "∂L/∂W_xh": Mistake(
            gradients["∂L/∂W_xh"] - right + wrong, "the last term names h_2 where h_1 belongs"
        ),
        "∂L/∂W_hh": Mistake(
            gradients["∂L/∂W_hh"] - through_h_0,
            "the terms through h_0 are left out, which is right only if h_0 = 0",
        ),
    }


MISTAKES: dict[str, Callable[[Named, Named, Named], dict[str, Mistake]]] = {
    "A": tanh_rnn,
    "C": double_sum,
    "D": linear_rnn,
    "F": sigmoid_rnn,
}
