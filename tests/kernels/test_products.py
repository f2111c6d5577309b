"""Products against NumPy's, over shapes with every remainder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from mobilenets.kernels.compile import kernel
from mobilenets.kernels.products import multiply, outer, packed, product_address


@kernel
def products(address, a, b, c, into, d, out):
    multiply(
        address, a.ctypes.data, a.shape[1], b.ctypes.data, c.ctypes.data, c.shape[1], *into, (a.ctypes.data, 8, 100)
    )
    rows, outputs = a.shape
    if outputs % 8 == 0:
        outer(address, a.ctypes.data, outputs, d.ctypes.data, d.shape[1], out.ctypes.data, out.shape[1], rows, outputs,
              d.shape[1], (d.ctypes.data, 0, 0))  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"), [(1, 8, 8), (13, 16, 24), (30, 43, 16), (59, 24, 104), (12, 27, 32)]
)
def test_both_products(dtype: Any, rows: int, depth: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, depth)).astype(dtype), rng.standard_normal((depth, columns)).astype(dtype)
    d, out = rng.standard_normal((rows, columns)).astype(dtype), rng.standard_normal((depth, columns)).astype(dtype)
    c, before = np.full((rows, columns), np.nan, dtype), out.copy()
    products(
        product_address(np.dtype(dtype)),
        a,
        packed(b if rows % 2 else np.asfortranarray(b)),
        c,
        (rows, columns, depth),
        d,
        out,
    )
    accuracy = 1e-4 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(c, a @ b, atol=accuracy)
    if depth % 8 == 0:
        np.testing.assert_allclose(out, before + a.T @ d, atol=accuracy)
