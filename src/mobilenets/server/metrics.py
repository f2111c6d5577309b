"""Figures of the server for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """Counters of one server; memory and processor time of its process come with them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
            "mobilenets_pictures_waiting", "Pictures waiting or being processed", registry=self.registry
        )
        self.batch = Histogram(
            "mobilenets_batch_pictures",
            "Pictures per batch",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Write them in Prometheus's text format."""
        return generate_latest(self.registry)
