"""Submits no-op tasks to the peer over REST, waits until all are completed, prints one JSON line.

Starts its own Redis, Celery worker and uvicorn on free loopback ports with their data in a
temporary folder below `--dir`, and stops them.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import uvloop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from peer import Server, free_port, percentile, sync_times, usage  # noqa: E402

BODY = b'{"task_type":"agent_run","input_data":{"prompt":"no-op"}}'
WARM = 200


class Connection:
    """A lean HTTP/1.1 client: one connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer)

    async def send(self, request: bytes) -> bytes:
        """The body of the answer if its status is a success."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = await self.reader.readexactly(int(length))
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{request[:40]!r} answered {head[:30]!r} {body[:500]!r}")
        return body

    async def get(self, path: str) -> dict:
        return json.loads(await self.send(f"GET {path} HTTP/1.1\r\nHost: peer\r\n\r\n".encode()))


POST = (
    b"POST /tasks/ HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


async def drive(port: int, clients: int, tasks: int) -> list[float]:
    """Posts tasks from so many connections; gives the milliseconds of each POST."""
    times: list[float] = []
    left = iter(range(tasks))

    async def client() -> None:
        connection = await Connection.open(port)
        for _ in left:
            begin = time.perf_counter()
            await connection.send(POST)
            times.append((time.perf_counter() - begin) * 1e3)
        connection.writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return times


async def wait_for(port: int, servers: list[Server], tasks: int) -> None:
    """Waits until so many tasks are completed."""
    connection = await Connection.open(port)
    last, since = 0, time.monotonic()
    while (completed := (await connection.get("/count"))["completed"]) < tasks:
        for server in servers:
            server.check()
        if completed > last:
            last, since = completed, time.monotonic()
        if time.monotonic() - since > 30:
            raise RuntimeError(f"no task was completed for 30 s; {completed} of {tasks} are")
        # Rarer than the bench of Opspawn asks, as an answer costs the peer more.
        await asyncio.sleep(0.02)
    if completed > tasks:
        raise RuntimeError(f"{completed} results of {tasks} tasks")
    connection.writer.close()


async def round_trip(connection: Connection) -> float:
    """Milliseconds from a submit to the answer that shows the task completed."""
    begin = time.perf_counter()
    task_id = json.loads(await connection.send(POST))["task_id"]
    while (await connection.get(f"/tasks/{task_id}"))["status"] != "completed":
        # Asking without a pause would take the worker's share of the CPU.
        await asyncio.sleep(0.001)
    return (time.perf_counter() - begin) * 1e3


async def ready(servers: list[Server], port: int) -> None:
    """Waits until something listens on the port."""
    for _ in range(600):
        for server in servers:
            server.check()
        with contextlib.suppress(OSError):
            (await Connection.open(port)).writer.close()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{servers[-1].name} did not start within 30 s")


async def start(folder: Path, servers: list[Server], args: argparse.Namespace) -> int:
    """Starts all processes; gives the port of the REST surface."""
    redis = shutil.which("redis-server")
    if redis is None:
        raise RuntimeError("redis-server is missing: install Debian's package redis-server")
    store, port = free_port(), free_port()
    env = os.environ | {
        "PEER_BROKER": f"redis://127.0.0.1:{store}/0",
        "PEER_RESULTS": f"redis://127.0.0.1:{store}/1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(name: str, command: list[str]) -> None:
        servers.append(Server(folder, name, command, env, cwd=HERE))

    options = {
        "bind": "127.0.0.1",
        "port": str(store),
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
    }
    run("redis", [redis, *(word for key, value in options.items() for word in (f"--{key}", value))])
    await ready(servers, store)
    python = [sys.executable, "-m"]
    worker = ["celery", "--app", "app.queue", "worker", "--pool", "prefork", "--loglevel", "warning"]
    worker += ["--concurrency", str(args.workers)]
    worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    for node in range(args.nodes):
        run(f"worker{node}", [*python, *worker, "--hostname", f"worker{node}@peer"])
    web = ["uvicorn", "app:web", "--host", "127.0.0.1", "--port", str(port), "--workers"]
    run("web", [*python, *web, str(args.web), "--no-access-log", "--log-level", "warning"])
    await ready(servers, port)
    return port


async def measure(folder: Path, servers: list[Server], args: argparse.Namespace) -> dict:
    port = await start(folder, servers, args)
    # The first requests pay for caches, connections and processes.
    await drive(port, args.clients, WARM)
    await wait_for(port, servers, WARM)

    syncs = sync_times(folder)
    before, _ = usage(servers)
    own = time.process_time()
    begin = time.perf_counter()
    posts = await drive(port, args.clients, args.tasks)
    accepted = time.perf_counter() - begin
    await wait_for(port, servers, WARM + args.tasks)
    elapsed = time.perf_counter() - begin
    own = time.process_time() - own
    after, peak = usage(servers)

    line = {
        "bench": "submit",
        "what": f"REST submit to completed, no-op task; Celery {version('celery')} + FastAPI",
        "store": "redis",
        "durability": "appendonly, appendfsync=always; acks_late; message, result and "
        "acknowledgement each durable",
        "clients": args.clients,
        "tasks": args.tasks,
        "tasks_per_second": round(args.tasks / elapsed, 3),
        "accepted_per_second": round(args.tasks / accepted, 3),
        "post_ms": {
            "p50": percentile(posts, 0.5),
            "p99": percentile(posts, 0.99),
            "max": percentile(posts, 1.0),
        },
        "server_cpu_us_per_task": round((after - before) * 1e6 / args.tasks, 3),
        "server_peak_rss_mib": round(peak, 3),
        "client_cpu_us_per_task": round(own * 1e6 / args.tasks, 3),
        "fdatasync_ms": {"p50": percentile(syncs, 0.5), "p99": percentile(syncs, 0.99)},
    }
    if args.clients == 1:
        connection = await Connection.open(port)
        rounds = [await round_trip(connection) for _ in range(500)]
        line["submit_to_completed_ms"] = {
            "p50": percentile(rounds, 0.5),
            "p99": percentile(rounds, 0.99),
        }
    return line


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tasks", type=int, help="8000, or 1000 with one client")
    parser.add_argument("--nodes", type=int, default=2, help="Celery workers")
    parser.add_argument("--workers", type=int, default=1, help="processes of a Celery worker")
    parser.add_argument("--web", type=int, default=1, help="processes of uvicorn")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the data may be")
    parser.add_argument("--limit", type=float, default=180, help="seconds that it may take")
    args = parser.parse_args()
    args.clients = max(args.clients, 1)
    args.tasks = max(args.tasks or (1000 if args.clients == 1 else 8000), 1)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    servers: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="celery-", dir=args.dir.resolve()) as folder:
        try:
            async with asyncio.timeout(args.limit):
                line = await measure(Path(folder), servers, args)
        finally:
            for server in reversed(servers):
                server.stop()
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
