"""The outputs of a graph: the classifiers that a picture comes to, and the one that is taken."""

from __future__ import annotations

from collections.abc import Mapping

from mobilenets.weights.tensorflow.graphdef import GraphError, Node
from mobilenets.weights.tensorflow.trace import Trace

_SHOWN = 8


def follow(nodes: Mapping[str, Node], output: str | None) -> tuple[Trace, tuple[str, ...]]:
    """Follow the picture to one output: the node named, else the one that the graph ends in.

    Returns what it meets, and a line on the other outputs where there are any. Raises GraphError, which lists them
    where nothing tells which is meant.
    """
    whole = Trace(nodes) if output is None or _bare(output) not in nodes else None
    if whole is None:
        return Trace(_behind(nodes, _bare(output or ""))), ()
    named = {layer: f"{name} ({whole.drafts[layer].channels})" for layer, name in whole.outputs.items()}
    listed = ", ".join(" ".join(name[:100].split()) for name in list(named.values())[:_SHOWN])
    if output is not None:
        raise GraphError(f"it has no output {output[:100]!r}; choose one of: {listed}")
    before = {layer: _before(whole, layer) for layer in whole.ends}
    last = [layer for layer in whole.ends if not any(layer in earlier for earlier in before.values())]
    if len(last) > 1:
        raise GraphError(f"it has several outputs: {listed}; choose one with --output NAME")
    if not last or len(named) < 2:
        return whole, ()
    others = ", ".join(" ".join(name[:100].split()) for layer, name in named.items() if layer != last[0])
    return whole, (
        f"the output is {named[last[0]]}, the last one in the graph; choose another with --output NAME: {others}",
    )


def _bare(output: str) -> str:
    return output.removesuffix(":0")


def _before(trace: Trace, layer: int) -> set[int]:
    """Give the classifiers whose output this one takes."""
    found: set[int] = set()
    after = trace.drafts[layer].after
    while after is not None and after not in found:
        found.add(after)
        after = trace.drafts[after].after
    return found


def _behind(nodes: Mapping[str, Node], output: str) -> dict[str, Node]:
    """Give a node and all that it takes, in their order."""
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [source for source, _ in nodes[name].inputs]
    return {name: node for name, node in nodes.items() if name in needed}
