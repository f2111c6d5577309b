"""MobileNetV1 (arXiv 1704.04861), and a light one for small pictures."""

from __future__ import annotations

from mobilenets.models.rows import Conv, FlatHead, MaxPool, PooledHead, Separable, stage
from mobilenets.models.tables.table import Table

# Table 1. The table prints stride 2 for the last depthwise layer, but its own sizes (7 × 7 in
# and out) and the reference code have stride 1.
V1 = Table(
    body=(
        Conv(32, stride=2),
        Separable(64),
        Separable(128, stride=2),
        Separable(128),
        Separable(256, stride=2),
        Separable(256),
        Separable(512, stride=2),
        *stage(Separable(512), 5),
        Separable(1024, stride=2),
        Separable(1024),
    ),
    head=PooledHead(dropout=0.001),
    rounding="floor",
)

# The light V1 of a well-known CIFAR-10 tutorial: V1's first rows; its dropout share is our choice.
V1_CIFAR = Table(body=(*V1.body[:5], MaxPool(2)), head=FlatHead(dropout=0.2, l2=0.004), rounding="floor")
