"""Runs of detectors, from DATA to a run folder."""
