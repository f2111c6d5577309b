"""Matrix products inside compiled kernels, on tiles that stay in cache, by the BLAS that SciPy brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from mobilenets.kernels.compile import kernel

_NAMES = {np.dtype(np.float32): "sgemm", np.dtype(np.float64): "dgemm"}


@cache
def gemm_address(dtype: np.dtype[Any]) -> int:
    """Give the address of SciPy's ``sgemm`` or ``dgemm``, which kernels take as an argument so that they can be cached.

    Raises ``KeyError`` for another type than float32 and float64.
    """
    return int(get_cython_function_address("scipy.linalg.cython_blas", _NAMES[np.dtype(dtype)]))


@intrinsic
def _call_gemm(context, address, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Call Fortran's ``?gemm`` at ``address``: every argument by reference, matrices by address."""
    signature = types.void(
        types.intp,
        types.int8,
        types.int8,
        types.int32,
        types.int32,
        types.int32,
        alpha,
        types.intp,
        types.int32,
        types.intp,
        types.int32,
        alpha,
        types.intp,
        types.int32,
    )

    def codegen(context, builder, signature, args):
        matrices = {7, 9, 12}
        byte = ir.IntType(8).as_pointer()
        given = []
        for place, value in enumerate(args[1:], start=1):
            if place in matrices:
                given.append(builder.inttoptr(value, byte))
            else:
                slot = cgutils.alloca_once(builder, value.type)
                builder.store(value, slot)
                given.append(builder.bitcast(slot, byte))
        function = ir.FunctionType(ir.VoidType(), [byte] * len(given))
        builder.call(builder.inttoptr(args[0], function.as_pointer()), given)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def product(address, a, lda, ta, b, ldb, tb, c, ldc, m, n, k, alpha, beta):
    """Write C = alpha·op(A)·op(B) + beta·C for row-major matrices: C is m×n, op(A) m×k, op(B) k×n.

    ``a``, ``b``, ``c`` are addresses, ``lda`` … the values from one row to the next, ``ta`` and ``tb`` say whether a
    matrix stands transposed. ``alpha`` and ``beta`` have the type of the matrices.
    """
    # Fortran's matrices are ours transposed, so it is asked for Cᵀ = op(B)ᵀ·op(A)ᵀ. 78 is N, 84 is T.
    _call_gemm(
        address,
        np.int8(84 if tb else 78),
        np.int8(84 if ta else 78),
        np.int32(n),
        np.int32(m),
        np.int32(k),
        alpha,
        b,
        np.int32(ldb),
        a,
        np.int32(lda),
        beta,
        c,
        np.int32(ldc),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Have SciPy's BLAS make no threads of its own: kernels call it on every thread of theirs."""
    controller = _controller()
    before = [(library, library.num_threads) for library in controller]
    for library, threads in before:
        if threads != 1:
            library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in before:
            if threads != 1:
                library.set_num_threads(threads)


@cache
def _controller() -> list[Any]:
    import scipy.linalg.cython_blas  # noqa: F401  # loads the library that is asked for
    from threadpoolctl import ThreadpoolController

    return [library for library in ThreadpoolController().lib_controllers if library.internal_api == "openblas"]
