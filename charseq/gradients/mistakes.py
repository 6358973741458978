"""a sheet worked through -> what the sheet has in its place where it slipped, and why.

It knows neither ``sheets`` nor torch: what comes in are the given vectors and matrices, the
forward values and the right gradients, all by their names on the sheet. One slip is made at a
time, everything else is right, so that each can be seen for itself. Sheets B and E have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Named = Mapping[str, Array]


class Slip(NamedTuple):
    """What the sheet has for one quantity; ``why`` is empty where it is right."""

    value: Array
    why: str


def tanh_rnn(given: Named, values: Named, gradients: Named) -> dict[str, Slip]:
    """Sheet A; there must be as many outputs as hidden units, or ∂o_t/∂h_t = h_t has no meaning.

    E = Σ_t Σ_k y_{t,k} log z_{t,k};  ∂o_t/∂h_t = h_t;  ∂⁺h_t/∂W_hh = (1 - h_t²·h_{t-1});
    ∂E/∂W_hh = Σ_t ∂E_t/∂h_t ∂⁺h_t/∂W_hh, without Σ_{k<t}.
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
        "E": Slip(-values["E"], "the minus sign is missing, so that less error is more E"),
        f"∂E/∂h_{T}": Slip(h[T] * dE_do[-1], f"∂o_{T}/∂h_{T} is written h_{T}; it is W_hz"),
        f"∂E/∂W_hh({T})": Slip(
            delta[:, None] * (1 - np.outer(h[T] * h[T], h[T - 1])),
            f"tanh' stands inside the bracket, (1 - h_{T}²·h_{T - 1}); "
            f"it is (1 - h_{T}²) h_{T - 1}",
        ),
        "∂E/∂W_hh": Slip(
            np.asarray(sum(immediate)),
            "only the immediate terms are kept, the sum over earlier steps is lost",
        ),
    }


def double_sum(given: Named, values: Named, gradients: Named) -> dict[str, Slip]:
    """Sheet C: the output matrix is called W_H as well, which is the H×H one."""
    del values, gradients  # a slip of a name
    rows, columns = given["W_H"].shape
    why = f"the output matrix is called W_H as well, which is {rows}×{columns}"
    return {"shape of W_y": Slip(np.array([rows, columns]), why)}


def linear_rnn(given: Named, values: Named, gradients: Named) -> dict[str, Slip]:
    """Sheet D, its two steps and its numbers: ŷ_1 = w_h h_1, and 2·2·3 = 8."""
    del gradients  # each follows from ŷ_1 here
    w_h, w_y = given["w_h"], given["w_y"]
    y_hat = [w_h * values["h_1"], w_y * values["h_2"]]
    error = [2 * (y_hat[t] - given["y"][t]) for t in range(2)]
    written = 8  # 2 (ŷ_2 - y_2) w_y (h_1 + w_h h_0) = 2·2·3
    follows = "follows from ŷ_1"
    return {
        "h_1": Slip(values["h_1"], ""),
        "h_2": Slip(values["h_2"], ""),
        "ŷ_1": Slip(y_hat[0], "w_h is used in place of w_y"),
        "ŷ_2": Slip(y_hat[1], ""),
        "L": Slip(sum((y_hat[t] - given["y"][t]) ** 2 for t in range(2)), follows),
        "∂L/∂h_1": Slip(w_y * error[0] + w_h * w_y * error[1], follows),
        "∂L/∂w_h": Slip(
            error[0] * w_y * given["h_0"] + written, f"{follows}, and 2·2·3 is written {written}"
        ),
    }


def sigmoid_rnn(given: Named, values: Named, gradients: Named) -> dict[str, Slip]:
    """Sheet F: the term t = T, k = 1 of ∂L/∂W_xh names h_2; ∂L/∂W_hh lacks those of k = 1."""
    T = len(given["x"])
    slope = [values[f"h_{t}"] * (1 - values[f"h_{t}"]) for t in range(T + 1)]  # σ'(a_t) from 1 on
    reached = gradients[f"∂L_{T}/∂h_{T}"]
    for t in range(T, 1, -1):
        reached = reached @ gradients[f"∂h_{t}/∂h_{t - 1}"]
    x_1, x_2 = given["x"][:2]
    right, wrong = np.outer(reached * slope[1], x_1), np.outer(reached * slope[2], x_2)
    through_h_0 = np.outer(gradients["∂L/∂h_1"] * slope[1], values["h_0"])
    return {
        "∂L/∂W_xh": Slip(
            gradients["∂L/∂W_xh"] - right + wrong, "the last term names h_2 where h_1 belongs"
        ),
        "∂L/∂W_hh": Slip(
            gradients["∂L/∂W_hh"] - through_h_0,
            "the terms through h_0 are left out, which is right only if h_0 = 0",
        ),
    }


SLIPS: dict[str, Callable[[Named, Named, Named], dict[str, Slip]]] = {
    "A": tanh_rnn,
    "C": double_sum,
    "D": linear_rnn,
    "F": sigmoid_rnn,
}
