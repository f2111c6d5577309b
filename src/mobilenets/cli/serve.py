"""``mobilenets serve``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from mobilenets.cli.options import MODEL, add_engine, engine
from mobilenets.cli.output import to_json
from mobilenets.cli.parser import Parser, Verb
from mobilenets.errors import InputError

MOST_DRAIN = 3600


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL)
    add(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen on (default: 127.0.0.1, this machine only); 0.0.0.0 lets others in; they need a "
        "token if the environment variable MOBILENETS_TOKEN sets one",
    )
    add(
        "--allow-host",
        dest="allow_hosts",
        metavar="NAME",
        action="append",
        default=[],
        help="a name by which browsers may ask for the server, as behind a proxy; may be given several times. "
        "Addresses, localhost and this machine's own name need none; '*' allows any",
    )
    add("--port", type=int, default=8000, metavar="P", help="port to listen on (default: 8000)")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="so many processes at one port, each with its part of the cores; one that dies is started again, SIGHUP "
        "replaces them one by one (default: this process alone)",
    )
    add(
        "--drain",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds after SIGTERM in which new connections are still let in while /ready says 503: longer than your "
        "proxy takes to notice (default: 1)",
    )
    add_engine(parser)


def _run(options: Namespace) -> int:
    from mobilenets.server.limits import Limits
    from mobilenets.verbs.serve import serve

    if not 0 <= options.drain <= MOST_DRAIN:
        raise InputError(f"drain {options.drain:g}: give seconds from 0 to {MOST_DRAIN}")

    def started(about: dict[str, Any]) -> None:
        if options.json:
            print(to_json(about), flush=True)

    serve(
        options.model,
        options.host,
        options.port,
        workers=options.workers,
        limits=Limits(drain=options.drain),
        allow_hosts=options.allow_hosts,
        started=started,
        **engine(options),
    )
    return 0


VERB = Verb(
    "serve",
    "serve a model: a web page to try it on, and predictions over HTTP",
    "mobilenets serve run --port 8000",
    _arguments,
    _run,
)
