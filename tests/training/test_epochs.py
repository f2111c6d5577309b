from __future__ import annotations

import logging

import pytest

from mobilenets.measure.metric import TOP1
from mobilenets.training.epochs import EpochTable

ROW = {
    "epoch": 1,
    "train_loss": 1.15249,
    "train_top1": 0.271,
    "validation_loss": 1.0988,
    "validation_top1": 1 / 3,
    "images_per_second": 59.3,
}


def test_aligned_below_one_head(caplog: pytest.LogCaptureFixture) -> None:
    table = EpochTable(100, 100, TOP1)
    with caplog.at_level(logging.INFO, "mobilenets"):
        table.add(ROW, 2.0, best=True)
        table.add(ROW | {"epoch": 100, "train_loss": 12.5}, 200.0, best=False)
    assert caplog.messages == [
        "  epoch  train loss    top-1  val. loss  val. top-1  pictures/s    time left",
        "  1/100       1.152   27.1 %      1.099      33.3 %          59   3 min 18 s  best so far",
        "100/100      12.500   27.1 %      1.099      33.3 %          59          0 s",
    ]
    assert [getattr(record, "style", None) for record in caplog.records] == ["head", "best", None]


def test_an_end_that_moves_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"):
        EpochTable(46, 46, TOP1, moving=True).add(ROW, 2.0, best=False)
    assert caplog.messages[1] == "    1       1.152   27.1 %      1.099      33.3 %          59   1 min 30 s"


def test_time_left_is_told_by_the_epochs_of_the_last_stage(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mobilenets"):
        EpochTable(10, 6, TOP1).add(ROW, 1.0, best=False)
        last = EpochTable(10, 10, TOP1)
        last.add(ROW | {"epoch": 7}, 20.0, best=False)
        last.add(ROW | {"epoch": 8}, 10.0, best=False)
    left = [message[-11:].strip() for message in caplog.messages if "time left" not in message]
    assert left == ["–", "1 min 00 s", "30 s"]
