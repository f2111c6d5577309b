"""Predicting millions: parts of a source, the processes that answer them, and the folder that keeps the answers."""
