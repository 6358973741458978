"""Operations and weights -> an ONNX graph: a small builder over ``onnx.helper``.

A weight is stored in the precision of the graph and unpacked where it is used::

    fp32   as it is
    fp16   half precision, then Cast
    int8   one scale for each row, round(w / scale) in -127 ... 127, then DequantizeLinear

Products are float32 in all of them, so the precision is a matter of size, not of speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float16, Float32, Int8

PRECISIONS = ("fp32", "fp16", "int8")
OPSET = 17
IR_VERSION = 8
"""Those of onnxruntime 1.13 and everything newer."""
KINDS = {"float": np.float32, "int": np.int64}
DOMAIN = ""


def quantise(
    weight: Float32[np.ndarray, "R C"],
) -> tuple[Int8[np.ndarray, "R C"], Float32[np.ndarray, "R"]]:
    """Rows of eight bits and their scales; a row of zeros has the scale 1."""
    largest = np.abs(weight).max(axis=1)
    scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


def halve(weight: Float32[np.ndarray, "*S"]) -> Float16[np.ndarray, "*S"]:
    """Half precision; what is beyond its largest number becomes that."""
    most = np.finfo(np.float16).max
    halved: np.ndarray = np.clip(weight, -most, most).astype(np.float16)
    return halved


def stored(weight: Float32[np.ndarray, "R C"], precision: str) -> Float32[np.ndarray, "R C"]:
    """A matrix as a graph of this precision unpacks it."""
    if precision == "int8":
        codes, scales = quantise(weight)
        unpacked: np.ndarray = codes.astype(np.float32) * scales[:, None]
        return unpacked
    return halve(weight).astype(np.float32) if precision == "fp16" else weight


class GraphBuilder:
    """Nodes and constants of a graph, in order."""

    def __init__(self, name: str, precision: str) -> None:
        self.name = name
        self.precision = precision
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._unpacked: dict[str, str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, kind: str, *axes: str | int) -> str:
        """An input with named or fixed axes."""
        self._inputs.append(_value(name, kind, axes))
        return name

    def output(self, name: str, value: str, kind: str, *axes: str | int) -> None:
        """An output: a value of the graph under another name."""
        self._add("Identity", [value], [name])
        self._outputs.append(_value(name, kind, axes))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The first output of a new node; an input "" is left out."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """All outputs of a new node."""
        # the name of the graph is in it: values of a loop's body are named apart from those outside
        place = f"{self.name}_{len(self._nodes)}_{kind.lower()}"
        outputs = [f"{place}_{number}" for number in range(count)]
        self._add(kind, inputs, outputs, **attributes)
        return outputs

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """A constant; equal ones are stored once."""
        array = np.asarray(value, dtype=dtype)
        name = f"constant_{array.dtype.name}_{array.shape}_{array.tobytes().hex()}"
        name = name if len(name) < 100 else f"constant_{len(self._constants)}"
        return self._store(name, array)

    def vector(self, name: str, value: np.ndarray) -> str:
        """A bias, in float32 whatever the precision."""
        return self._store(name, value.astype(np.float32))

    def matrix(self, name: str, weight: Float32[np.ndarray, "R C"]) -> str:
        """A weight, stored in the precision of the graph."""
        if name not in self._unpacked:
            self._unpacked[name] = self._unpack(name, weight)
        return self._unpacked[name]

    def rows(self, name: str, weight: Float32[np.ndarray, "R C"], ids: str) -> str:
        """Rows of a matrix, which is not unpacked as a whole for them."""
        if self.precision != "int8":
            found = self.op("Gather", self._pack(name, weight)[0], ids)
            return (
                found if self.precision == "fp32" else self.op("Cast", found, to=_number("float"))
            )
        codes, scales = self._pack(name, weight)
        chosen = self.op("Cast", self.op("Gather", codes, ids), to=_number("float"))
        scale = self.op("Unsqueeze", self.op("Gather", scales, ids), self.constant([-1]))
        return self.op("Mul", chosen, scale)

    def linear(self, inputs: str, weight: str, bias: str = "") -> str:
        """The product x W^T + b of rows N I."""
        return self.op("Gemm", inputs, weight, bias, transB=1)

    def body(self) -> GraphBuilder:
        """A graph inside of this one, such as that of a loop; it sees this one's values."""
        return GraphBuilder(f"{self.name}_body_{len(self._nodes)}", self.precision)

    def graph(self) -> Any:
        """The ``GraphProto``."""
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(a, name) for name, a in self._constants.items()]
        return helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, constants)

    def model(self, facts: Mapping[str, str]) -> bytes:
        """The checked ``ModelProto`` as bytes, with metadata of the exporter."""
        import onnx
        from onnx import helper

        opsets = [helper.make_opsetid(DOMAIN, OPSET)]
        made = helper.make_model(self.graph(), opset_imports=opsets, producer_name="charseq")
        made.ir_version = IR_VERSION
        helper.set_model_props(made, dict(facts))
        onnx.checker.check_model(made, full_check=True)
        content: bytes = made.SerializeToString()
        return content

    def _unpack(self, name: str, weight: Float32[np.ndarray, "R C"]) -> str:
        packed = self._pack(name, weight)
        if self.precision == "fp16":
            return self.op("Cast", packed[0], to=_number("float"))
        return self.op("DequantizeLinear", *packed, axis=0) if len(packed) == 2 else packed[0]

    def _pack(self, name: str, weight: Float32[np.ndarray, "R C"]) -> tuple[str, ...]:
        """The constants that a weight is stored as."""
        if self.precision == "int8":
            codes, scales = quantise(weight)
            return self._store(f"{name}.int8", codes), self._store(f"{name}.scale", scales)
        kept = halve(weight) if self.precision == "fp16" else weight.astype(np.float32)
        return (self._store(f"{name}.{self.precision}", kept),)

    def _store(self, name: str, value: np.ndarray) -> str:
        self._constants.setdefault(name, np.array(value, order="C"))
        return name

    def _add(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))


def _value(name: str, kind: str, axes: Sequence[str | int]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, _number(kind), list(axes))


def _number(kind: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(KINDS[kind])))
