"""Load `mobilenets serve MODEL` on this machine: many clients, good and bad; then SIGTERM while they go on.

    python benchmarks/load_server.py MODEL --clients 200 --seconds 60
    python benchmarks/load_server.py MODEL --kinds good --clients 16 --workers 2 --restarts 1

Prints a JSON object: p50 and p99 of the good clients' answers in milliseconds, answers by kind of client and status,
processor time of the server, its memory in MiB (the most of one look a second, and about twenty figures of the curve;
what workers share counts for each), and what was lost: requests of good clients that were sent and not answered. Exit
status 1 when something was lost, or a server error other than 503 was seen. Linux, because time and memory are read
from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
from drawn import encoded, png, soft
from report import arguments

# How many clients in a hundred are of which kind.
KINDS = {
    "good": 60,
    "several": 8,
    "slow": 8,
    "cut_off": 6,
    "oversized": 6,
    "no_picture": 4,
    "bomb": 4,
    "broken_form": 4,
}


def bomb(side: int) -> bytes:
    """A PNG of side × side pixels in a few bytes, whole and well-formed."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    return png(side, side, 1, b"".join(packer.compress(row) for _ in range(side)) + packer.flush())


def form(*files: bytes) -> bytes:
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    return b"".join(head + file + b"\r\n" for file in files) + b"--xyz--\r\n"


class Load:
    """The clients and what they saw."""

    def __init__(self, port: int, seconds: float, sides: tuple[int, ...] = (7040, 7200, 30_000)) -> None:
        self.port = port
        self.closing = False
        self.statuses: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: list[float] = []
        self.lost: list[str] = []
        self.photos = [encoded(soft(np.random.default_rng(seed), (16, 16), (640, 480)), 88) for seed in range(8)]
        # Just under 50 megapixels is decoded; just over, and far over, is refused.
        self.bombs = [bomb(side) for side in sides]
        self.end = time.monotonic() + seconds

    async def client(self, kind: str, number: int) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.random())
        streams = None
        while not self.closing:
            sent = False
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if self.closing or time.monotonic() > self.end:
                    return
                self.statuses[kind]["not let in"] += 1
                await asyncio.sleep(0.2)
                continue
            reader, writer = streams
            begun = time.perf_counter()
            try:
                sent = True
                async with asyncio.timeout(60):
                    status, keep = await self.ask(kind, rng, reader, writer)
                self.statuses[kind][status] += 1
                if kind == "good" and status == "200":
                    self.seconds.append(time.perf_counter() - begun)
                if status == "503":
                    # As Retry-After asks.
                    await asyncio.sleep(1)
                elif status != "200":
                    await asyncio.sleep(rng.random() / 5)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                keep = False
                if kind in ("good", "several") and sent:
                    self.lost.append(f"{kind} at {time.monotonic() - self.end:+.2f} s of SIGTERM: {error!r}")
                else:
                    self.statuses[kind]["hung up"] += 1
            if not keep:
                writer.close()
                streams = None
        if streams is not None:
            streams[1].close()

    async def ask(
        self, kind: str, rng: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, bool]:
        picture = rng.choice(self.photos)
        if kind == "good":
            await self.send(writer, picture)
        elif kind == "several":
            await self.send(writer, form(*rng.choices(self.photos, k=4)), "multipart/form-data; boundary=xyz")
        elif kind == "slow":
            writer.write(self.head(len(picture)))
            # Half of them take too long; a head or a body a byte at a time.
            for place in range(0, len(picture), 1024):
                writer.write(picture[place : place + 1024])
                await writer.drain()
                await asyncio.sleep(rng.choice((0.01, 0.3)))
        elif kind == "cut_off":
            writer.write(self.head(len(picture)) + picture[: len(picture) // 2])
            await writer.drain()
            await asyncio.sleep(rng.random() / 2)
            return "cut off", False
        elif kind == "oversized":
            if rng.random() < 0.5:
                await self.send(writer, bytes(40 << 20))
            else:
                writer.write(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(40):
                    writer.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        elif kind == "no_picture":
            await self.send(writer, rng.choice((b"", b"words", rng.randbytes(200_000), picture[:2000])))
        elif kind == "bomb":
            await self.send(writer, rng.choice(self.bombs))
        else:
            whole = form(picture)
            broken = rng.choice((whole[: len(whole) // 2], b"--xyz\r\n" * 100_000, b"--xyz\r\n" + b"A" * 3_000_000))
            await self.send(writer, broken, "multipart/form-data; boundary=xyz")
        return await self.answer(reader)

    @staticmethod
    def head(length: int, kind: str = "image/jpeg") -> bytes:
        headers = f"Host: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}"
        return f"POST /predict?top=3 HTTP/1.1\r\n{headers}\r\n\r\n".encode()

    async def send(self, writer: asyncio.StreamWriter, body: bytes, kind: str = "image/jpeg") -> None:
        writer.write(self.head(len(body), kind) + body)
        await writer.drain()

    async def answer(self, reader: asyncio.StreamReader) -> tuple[str, bool]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        await reader.readexactly(length)
        return head.split(" ")[1], "\r\nconnection: close" not in head


def family(pid: int) -> list[int]:
    """A server and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def memory(pid: int) -> int:
    """Resident memory in MiB, of all together."""
    found = 0
    for one in family(pid):
        with suppress(FileNotFoundError):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            found += next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))
    return found


def processor(pid: int) -> float:
    """Processor time so far, in seconds: of all that run, and of workers that have ended."""
    found = 0
    for one in family(pid):
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            # utime and stime, and of the server also cutime and cstime: proc(5)
            found += sum(int(field) for field in fields[11 : 15 if one == pid else 13])
    return found / os.sysconf("SC_CLK_TCK")


async def load(process: subprocess.Popen[str], port: int, options: argparse.Namespace) -> dict[str, object]:
    clients, seconds = options.clients, options.seconds
    before, worked = memory(process.pid), processor(process.pid)
    kinds = [kind for kind, share in KINDS.items() for _ in range(share)]
    if options.kinds == "good":
        kinds = ["good"] * 100
    random.Random(0).shuffle(kinds)
    whole = Load(port, seconds, *([()] if options.kinds == "good" else []))
    tasks = [asyncio.create_task(whole.client(kinds[number % 100], number)) for number in range(clients)]
    curve: list[int] = []
    restarts = [round(seconds * (number + 1) / (options.restarts + 1)) for number in range(options.restarts)]
    while time.monotonic() < whole.end:
        await asyncio.sleep(1)
        curve.append(memory(process.pid))
        if len(curve) in restarts:
            process.send_signal(signal.SIGHUP)
    most, worked = max(curve, default=before), processor(process.pid) - worked
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    while process.poll() is None:
        await asyncio.sleep(0.05)
    whole.closing = True
    ended = time.monotonic() - begun
    # Those who are slow on purpose are not waited for.
    await asyncio.wait(tasks, timeout=5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    p50, p99 = np.percentile(whole.seconds, (50, 99)) * 1000 if whole.seconds else (float("nan"),) * 2
    return {
        "clients": clients,
        "workers": options.workers,
        "restarts": options.restarts,
        "seconds": seconds,
        "good_answers_per_second": round(len(whole.seconds) / seconds, 1),
        "processor_seconds": round(worked, 1),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "answers": {kind: dict(sorted(found.items())) for kind, found in sorted(whole.statuses.items())},
        "rss_mib": {"before": before, "most": most, "curve": curve[:: -(-len(curve) // 20) or 1]},
        "shutdown_seconds": round(ended, 1),
        "exit_status": process.returncode,
        "lost": whole.lost,
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kinds", choices=("all", "good"), default="all", help="which clients there are")
    parser.add_argument("--workers", type=int, help="processes of the server (default: one, without a parent)")
    parser.add_argument("--restarts", type=int, default=0, help="so many times all workers are replaced meanwhile")
    options = parser.parse_args()
    command = [sys.executable, "-m", "mobilenets", "serve", options.model, "--port", "0", "--json"]
    if options.workers is not None:
        command += ["--workers", str(options.workers)]
    environment = os.environ.copy()
    environment.pop("MOBILENETS_TOKEN", None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            port = int(json.loads(process.stdout.readline())["url"].rsplit(":", 1)[1])
            result = asyncio.run(load(process, port, options))
        finally:
            process.kill()
    print(json.dumps(result, indent=1))
    seen = {status for found in result["answers"].values() for status in found}  # type: ignore[attr-defined]
    bad = {status for status in seen if status.startswith("5") and status != "503"}
    return int(bool(result["lost"] or bad or result["exit_status"]))


if __name__ == "__main__":
    sys.exit(main())
