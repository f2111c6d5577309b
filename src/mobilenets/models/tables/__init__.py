"""The papers' tables, as data: one paper a file."""

from mobilenets.models.tables.table import Table, small_pictures
from mobilenets.models.tables.v1 import V1, V1_CIFAR
from mobilenets.models.tables.v2 import V2, V2_SETTINGS, v2_table
from mobilenets.models.tables.v3 import V3_LARGE, V3_LARGE_MINIMALISTIC, V3_SMALL, V3_SMALL_MINIMALISTIC, reduced_tail
from mobilenets.models.tables.v4 import V4_CONV_LARGE, V4_CONV_MEDIUM, V4_CONV_SMALL

__all__ = [
    "V1",
    "V1_CIFAR",
    "V2",
    "V2_SETTINGS",
    "V3_LARGE",
    "V3_LARGE_MINIMALISTIC",
    "V3_SMALL",
    "V3_SMALL_MINIMALISTIC",
    "V4_CONV_LARGE",
    "V4_CONV_MEDIUM",
    "V4_CONV_SMALL",
    "Table",
    "reduced_tail",
    "small_pictures",
    "v2_table",
]
