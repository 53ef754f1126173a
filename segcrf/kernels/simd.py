"""Vectors of eight doubles in Numba, with explicit loads, stores and arithmetic.

LLVM makes vector instructions of the plain loops that it recognises, and spills accumulators to memory in all others.
Here a vector is a value, so that a kernel states what stays in registers; LLVM only has to choose the registers (one
of AVX-512, two of AVX2, four of NEON). Buffers are flat, and indices count vectors: ``load(buffer, k)`` reads elements
8 k to 8 k + 7.

Functions that use these vectors are compiled by `numba_runtime.explicit`, which keeps the order of sums.
"""

# pyright: basic
# Numba's extension interface is untyped.
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

__all__ = [
    "WIDTH",
    "any_outside",
    "exp",
    "first_equal",
    "fma",
    "gather",
    "larger",
    "load",
    "load_part",
    "log",
    "look_up",
    "peak",
    "scatter",
    "smaller",
    "splat",
    "spread",
    "store",
    "store_part",
    "total",
    "where_above",
]

WIDTH = 8

intrinsic: Any = extending.intrinsic  # for a type checker, its functions would still take the typing context
_REAL, _INT = ir.DoubleType(), ir.IntType(64)
_REALS, _INTS = ir.VectorType(_REAL, WIDTH), ir.VectorType(_INT, WIDTH)


class Vector(types.Type):
    """The Numba type of a vector."""

    def __init__(self) -> None:
        super().__init__("float64x8")


float64x8 = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _REALS)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_REALS, [value] * WIDTH)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(_places(WIDTH), [0] * WIDTH))


def _places(count: int) -> ir.VectorType:
    return ir.VectorType(ir.IntType(32), count)


def _pick(builder: Any, left: Any, right: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(left, right, ir.Constant(_places(len(places)), places))


# --------------------------------------------------------------------------------------------------- arithmetic
def _infix(operation: Callable[..., Any], instruction: str) -> None:
    @infer_global(operation)  # pyright: ignore[reportOptionalCall]
    class _Rule(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if args == (float64x8, float64x8):
                return signature(float64x8, float64x8, float64x8)
            return None

    @lower_builtin(operation, float64x8, float64x8)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


for _operation, _instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")
):  # fmt: skip
    _infix(_operation, _instruction)


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(_REALS, [_REALS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{WIDTH}f64")
    return builder.call(function, [x, y, z])


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x * y + z, in one instruction if the processor has it."""
    return signature(float64x8, x, y, z), lambda context, builder, sig, args: _multiply_add(builder, *args)


@intrinsic
def larger(typing: Any, x: Any, y: Any) -> Any:
    """Return the larger of each pair; y where one is NaN."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return signature(float64x8, x, y), lower


@intrinsic
def smaller(typing: Any, x: Any, y: Any) -> Any:
    """Return the smaller of each pair; y where one is NaN."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return signature(float64x8, x, y), lower


@intrinsic
def where_above(typing: Any, x: Any, bound: Any, value: Any, otherwise: Any) -> Any:
    """Return ``value`` where x > bound, else ``otherwise``."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args[:2]), *args[2:])

    return signature(float64x8, x, bound, value, otherwise), lower


@intrinsic
def any_outside(typing: Any, x: Any, low: Any, high: Any) -> Any:
    """Return whether an element of x is not within (low, high)."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, least, most = args
        inside = builder.and_(builder.fcmp_ordered(">", value, least), builder.fcmp_ordered("<", value, most))
        bits = builder.bitcast(inside, ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), (1 << WIDTH) - 1))

    return signature(types.boolean, x, low, high), lower


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """Return exp(x) for x <= 700 to 1e-13, and 0 for x <= -700; exactly 1 at 0.

    It is 2 to the power of k times a polynomial in the rest r, |r| <= ln(2) / 2: 1 + r q(r), with q interpolated at
    the Chebyshev nodes, which is within 4e-14 of exp(r).
    """

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (value,) = args
        magic = _constant(6755399441055744.0)  # 1.5 * 2**52: adding it rounds to an integer, left in the low bits
        rounded = _multiply_add(builder, value, _constant(1.4426950408889634), magic)
        rest = _multiply_add(builder, builder.fsub(rounded, magic), _constant(-0.6931471805599453), value)
        power = _constant(2.7625169883520667e-06)
        for coefficient in (
            2.487623871994097e-05, 0.00019841208634639135, 0.0013888821542986098, 0.00833333335377842,
            0.041666666891631156, 0.1666666666664823, 0.49999999999797123, 1.0, 1.0
        ):  # fmt: skip
            power = _multiply_add(builder, power, rest, _constant(coefficient))
        shifted = builder.shl(builder.bitcast(rounded, _INTS), ir.Constant(_INTS, [52] * WIDTH))
        scaled = builder.bitcast(builder.add(builder.bitcast(power, _INTS), shifted), _REALS)
        possible = builder.fcmp_ordered(">", value, _constant(-700.0))
        return builder.select(possible, scaled, _constant(0.0))

    return signature(float64x8, x), lower


@intrinsic
def log(typing: Any, x: Any) -> Any:
    """Return log(x) of normal positive numbers, to 1e-15 absolute or relative.

    x = 2**k m with m within a factor sqrt(2) of 1; log(m) = 2 atanh(s), s = (m - 1) / (m + 1), as its Taylor
    polynomial of degree 19.
    """

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def whole(number: int) -> ir.Constant:
            return ir.Constant(_INTS, [number] * WIDTH)

        bits = builder.bitcast(args[0], _INTS)
        power = builder.ashr(builder.sub(bits, whole(0x3FE6A09E667F3BCD)), whole(52))  # less the bits of sqrt(1 / 2)
        rest = builder.bitcast(builder.sub(bits, builder.shl(power, whole(52))), _REALS)
        magic = _constant(6755399441055744.0)
        k = builder.fsub(builder.bitcast(builder.add(power, builder.bitcast(magic, _INTS)), _REALS), magic)
        one = _constant(1.0)
        ratio = builder.fdiv(builder.fsub(rest, one), builder.fadd(rest, one))
        square = builder.fmul(ratio, ratio)
        series = _constant(2.0 / 19.0)
        for odd in range(17, 1, -2):
            series = _multiply_add(builder, series, square, _constant(2.0 / odd))
        series = builder.fmul(series, builder.fmul(square, ratio))
        series = builder.fadd(builder.fadd(ratio, ratio), series)
        return _multiply_add(builder, k, _constant(0.6931471805599453), series)

    return signature(float64x8, x), lower


# ------------------------------------------------------------------------------------------------------- memory
def _pointer(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any, step: int, kind: Any) -> Any:
    """Return a pointer to ``kind`` at element ``index * step`` of a flat array."""
    number = builder.mul(index, ir.Constant(index.type, step)) if step > 1 else index
    place = builder.gep(_pointer(context, builder, array_type, array), [number])
    return builder.bitcast(place, kind.as_pointer())


@intrinsic
def load(typing: Any, buffer: Any, k: Any) -> Any:
    """Return vector number ``k`` of a flat array of doubles."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, sig.args[0], args[0], args[1], WIDTH, _REALS), align=8)

    return signature(float64x8, buffer, types.intp), lower


@intrinsic
def store(typing: Any, buffer: Any, k: Any, x: Any) -> Any:
    """Write vector number ``k`` of a flat array of doubles."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[0], args[0], args[1], WIDTH, _REALS)
        builder.store(args[2], place, align=8)
        return context.get_dummy_value()

    return signature(types.none, buffer, types.intp, x), lower


@intrinsic
def load_part(typing: Any, source: Any, at: Any, count: Any, fill: Any) -> Any:
    """Return elements ``at`` to ``at`` + 7 of a flat array of floats or doubles; ``fill`` from place ``count`` on."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(context.get_value_type(sig.args[0].dtype), WIDTH)
        values = builder.load(_place(context, builder, sig.args[0], args[0], args[1], 1, kind), align=4)
        values = values if kind == _REALS else builder.fpext(values, _REALS)
        places = ir.Constant(_INTS, list(range(WIDTH)))
        inside = builder.icmp_signed("<", places, _splat(builder, args[2], _INTS))
        return builder.select(inside, values, _splat(builder, args[3], _REALS))

    return signature(float64x8, source, types.intp, types.intp, types.float64), lower


@intrinsic
def store_part(typing: Any, target: Any, at: Any, x: Any) -> Any:
    """Write x to elements ``at`` to ``at`` + 7 of a flat array of floats or doubles."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(context.get_value_type(sig.args[0].dtype), WIDTH)
        values = args[2] if kind == _REALS else builder.fptrunc(args[2], kind)
        builder.store(values, _place(context, builder, sig.args[0], args[0], args[1], 1, kind), align=4)
        return context.get_dummy_value()

    return signature(types.none, target, types.intp, x), lower


@intrinsic
def splat(typing: Any, x: Any) -> Any:
    """Return a vector with one number in every place."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0], _REALS)

    return signature(float64x8, types.float64), lower


@intrinsic
def spread(typing: Any, x: Any, place: Any) -> Any:
    """Return the element of x at a constant place, in every place: a permutation within registers."""
    if not isinstance(place, types.IntegerLiteral):
        return None
    at = place.literal_value

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _pick(builder, args[0], args[0], [at] * WIDTH)

    return signature(float64x8, x, place), lower


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """Return the sum of the elements, in a fixed order."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, half = args[0], WIDTH // 2
        while half:
            other = _pick(builder, value, value, list(range(half, 2 * half)))
            value = builder.fadd(_pick(builder, value, value, list(range(half))), other)
            half //= 2
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return signature(types.float64, x), lower


@intrinsic
def peak(typing: Any, x: Any) -> Any:
    """Return the largest element."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, half = args[0], WIDTH // 2
        while half:
            pair = [_pick(builder, value, value, list(range(at, at + half))) for at in (0, half)]
            value = builder.select(builder.fcmp_ordered(">", *pair), *pair)
            half //= 2
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return signature(types.float64, x), lower


@intrinsic
def first_equal(typing: Any, x: Any, value: Any) -> Any:
    """Return the first place at which x is ``value``, or 8 if there is none."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        equal = builder.fcmp_ordered("==", args[0], _splat(builder, args[1], _REALS))
        bits = builder.zext(builder.bitcast(equal, ir.IntType(WIDTH)), _INT)
        bits = builder.or_(bits, ir.Constant(_INT, 1 << WIDTH))
        return builder.cttz(bits, ir.Constant(ir.IntType(1), 1))

    return signature(types.int64, x, types.float64), lower


@intrinsic
def look_up(typing: Any, source: Any, places: Any, shift: Any) -> Any:
    """Return the elements of a flat array of doubles at whole numbers ``places`` + ``shift``."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = builder.fptosi(args[1], ir.VectorType(ir.IntType(32), WIDTH))
        start = builder.gep(_pointer(context, builder, sig.args[0], args[0]), [args[2]])
        value = ir.Constant(_REALS, ir.Undefined)
        for lane in range(WIDTH):
            place = ir.Constant(ir.IntType(32), lane)
            index = builder.sext(builder.extract_element(number, place), _INT)
            value = builder.insert_element(value, builder.load(builder.gep(start, [index])), place)
        return value

    return signature(float64x8, source, places, types.intp), lower


# ----------------------------------------------------------------------------------------------------- transposes
def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Transpose eight vectors of eight, by three rounds of interleaving pairs."""
    low = [place for i in range(WIDTH // 2) for place in (i, WIDTH + i)]
    high = [place + WIDTH // 2 for place in low]
    for _ in range(3):
        pairs = zip(rows[: WIDTH // 2], rows[WIDTH // 2 :], strict=True)
        rows = [_pick(builder, *pair, places) for pair in pairs for places in (low, high)]
    return rows


@intrinsic
def gather(typing: Any, source: Any, offsets: Any, position: Any, buffer: Any, k: Any) -> Any:
    """Write vectors k + i of ``buffer``, i < 8: lane l is element ``offsets[l] + position + i`` of ``source``."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        from_array, begins, at, to_array, first = args
        kind = ir.VectorType(context.get_value_type(sig.args[0].dtype), WIDTH)
        rows = []
        for lane in range(WIDTH):
            place = builder.gep(_pointer(context, builder, sig.args[1], begins), [ir.Constant(_INT, lane)])
            number = builder.add(builder.load(place), at)
            pointer = _place(context, builder, sig.args[0], from_array, number, 1, kind)
            rows.append(builder.load(pointer, align=4))
        for i, column in enumerate(_transposed(builder, rows)):
            values = column if kind == _REALS else builder.fpext(column, _REALS)
            index = builder.add(first, ir.Constant(_INT, i))
            place = _place(context, builder, sig.args[3], to_array, index, WIDTH, _REALS)
            builder.store(values, place, align=8)
        return context.get_dummy_value()

    return signature(types.none, source, offsets, types.intp, buffer, types.intp), lower


@intrinsic
def scatter(typing: Any, buffer: Any, k: Any, target: Any, offsets: Any, position: Any) -> Any:
    """Write element ``offsets[l] + position + i`` of ``target`` from lane l of vector k + i, as `gather` reversed."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        from_array, first, to_array, begins, at = args
        kind = ir.VectorType(context.get_value_type(sig.args[2].dtype), WIDTH)
        rows = []
        for i in range(WIDTH):
            index = builder.add(first, ir.Constant(_INT, i))
            place = _place(context, builder, sig.args[0], from_array, index, WIDTH, _REALS)
            values = builder.load(place, align=8)
            rows.append(values if kind == _REALS else builder.fptrunc(values, kind))
        for lane, column in enumerate(_transposed(builder, rows)):
            place = builder.gep(_pointer(context, builder, sig.args[3], begins), [ir.Constant(_INT, lane)])
            number = builder.add(builder.load(place), at)
            pointer = _place(context, builder, sig.args[2], to_array, number, 1, kind)
            builder.store(column, pointer, align=4)
        return context.get_dummy_value()

    return signature(types.none, buffer, types.intp, target, offsets, types.intp), lower
