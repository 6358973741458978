"""Sheet D's formulas with the numbers put in: ∂L/∂h_1 -> ``2·(-2) + 1·4``.

So that a student sees every number in the place that the formula gives it. An activation's
derivative σ'(a_t) is a factor of its own; without an activation it is 1 and left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from charseq.gradients.derivations import SIGMOID, TANH, Worked

FIRST_TERMS = 3
"""Terms of a long sum or product that are written out, before the last one."""
SLOPES = {"tanh": TANH.derivative, "sigmoid": SIGMOID.derivative}


class Substitution:
    """The numbers of one worked example of sheet D: ``given``, and all that follows from it."""

    def __init__(
        self, given: Mapping[str, NDArray[Any]], worked: Worked, activation: str = "identity"
    ) -> None:
        self._known = {**given, **worked.values, **worked.gradients}
        self._steps = len(given["x"])
        self._activation = "" if activation == "identity" else activation

    def formula(self, quantity: str) -> str:
        """The formula of a quantity with the numbers put in; empty where there is none."""
        steps = [int(step) for step in re.findall(r"_(\d+)", quantity)]
        t = steps[-1] if steps else 0
        formulas: dict[str, Callable[[], str]] = {
            "h_t": lambda: self._state(t),
            "ŷ_t": lambda: f"{self._number('w_y')}·{self._number(f'h_{t}')}",
            "L_t": lambda: f"{self._error(t)}²",
            "L": lambda: self._sum(lambda k: self._number(f"L_{k}")),
            "∂L/∂ŷ_t": lambda: f"2·{self._error(t)}",
            "∂L/∂h_t": lambda: self._arriving(t),
            "∂L/∂w_h": lambda: self._sum(
                lambda k: self._product(f"∂L/∂h_{k}", self._number(f"h_{k - 1}"), k)
            ),
            "∂L/∂w_x": lambda: self._sum(
                lambda k: self._product(f"∂L/∂h_{k}", self._number("x", k), k)
            ),
            "∂L/∂w_y": lambda: self._sum(
                lambda k: f"{self._number(f'∂L/∂ŷ_{k}')}·{self._number(f'h_{k}')}"
            ),
            "∂h_t/∂h_t": self._chain,
        }
        make = formulas.get(re.sub(r"_\d+", "_t", quantity))
        return make() if make else ""

    def _number(self, name: str, step: int | None = None) -> str:
        """A number, in parentheses if it is negative; ``step`` picks one of a sequence."""
        value = float(self._known[name] if step is None else self._known[name][step - 1])
        return f"({value:.4g})" if value < 0 else f"{value:.4g}"

    def _slope(self, step: int) -> str:
        """The factor σ'(a_t)."""
        if not self._activation:
            return ""
        return f"·{float(SLOPES[self._activation](self._known[f'a_{step}'])):.4g}"

    def _state(self, t: int) -> str:
        inside = f"{self._number('w_x')}·{self._number('x', t)}"
        inside += f" + {self._number('w_h')}·{self._number(f'h_{t - 1}')}"
        return f"{self._activation}({inside})" if self._activation else inside

    def _error(self, t: int) -> str:
        return f"({self._number(f'ŷ_{t}')} - {self._number('y', t)})"

    def _arriving(self, t: int) -> str:
        """∂L/∂h_t: the error of the step's own output, and the one that the next step hands on."""
        terms = [f"{self._number('w_y')}·{self._number(f'∂L/∂ŷ_{t}')}"] if t else []
        if t < self._steps:
            following = self._number(f"∂L/∂h_{t + 1}")
            terms.append(f"{self._number('w_h')}{self._slope(t + 1)}·{following}")
        return " + ".join(terms)

    def _product(self, gradient: str, read: str, step: int) -> str:
        return f"{self._number(gradient)}{self._slope(step)}·{read}"

    def _chain(self) -> str:
        """∂h_T/∂h_0: a factor for each step, the last one first."""
        if not self._activation:
            return f"{self._number('w_h')}^{self._steps}"
        factors = [f"{self._number('w_h')}{self._slope(t)}" for t in range(self._steps, 0, -1)]
        return " · ".join(f"({factor})" for factor in self._short(factors))

    def _sum(self, term: Callable[[int], str]) -> str:
        return " + ".join(self._short([term(k) for k in range(1, self._steps + 1)]))

    @staticmethod
    def _short(parts: list[str]) -> list[str]:
        """The first parts and the last one, with … for the others."""
        if len(parts) <= FIRST_TERMS + 1:
            return parts
        return [*parts[:FIRST_TERMS], "…", parts[-1]]
