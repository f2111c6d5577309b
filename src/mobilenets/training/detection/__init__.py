"""Training of detectors: what differs from that of classifiers."""
