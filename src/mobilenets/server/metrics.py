"""Figures of the server for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """Counters of one server, with the memory and processor time of its process; of several workers their sums."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._several = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        if not self._several:
            ProcessCollector(registry=self.registry)
        self.requests = Counter("mobilenets_requests", "Requests answered", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "mobilenets_request_seconds",
            "Time from the headers of a request to the end of its response",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.pictures = Counter("mobilenets_pictures", "Pictures in requests", ["result"], registry=self.registry)
        self.waiting = Gauge(
            "mobilenets_pictures_waiting",
            "Pictures waiting or being processed",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.batch = Histogram(
            "mobilenets_batch_pictures",
            "Pictures per batch",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Write them in Prometheus's text format."""
        registry = CollectorRegistry() if self._several else self.registry
        if self._several:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
