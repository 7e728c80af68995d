"""Runs workflows of no-op steps with DBOS, so many at once, and prints one JSON line.

With PostgreSQL it starts a private one on a free loopback port, with its data in a temporary folder
below `--dir`; without, DBOS keeps its state in SQLite, which it recommends for development only.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from dbos import DBOS  # noqa: E402
from peer import Server, free_port, percentile, sync_times, usage  # noqa: E402


@DBOS.step()
async def noop(number: int) -> int:
    """A step that does nothing; DBOS records what it returned."""
    return number


@DBOS.workflow()
async def run(steps: int) -> tuple[int, list[float]]:
    """Its steps in turn, and the milliseconds of each."""
    times = []
    total = 0
    for number in range(steps):
        begin = time.perf_counter()
        total += await noop(number)
        times.append((time.perf_counter() - begin) * 1e3)
    return total, times


def postgres(folder: Path) -> tuple[Server, str]:
    """A private PostgreSQL with its defaults, which sync each commit, and its URL."""
    initdb = shutil.which("initdb")
    if initdb is None:
        raise RuntimeError("initdb is missing: install PostgreSQL, or use --store sqlite")
    bin_folder = Path(initdb).resolve().parent
    # PostgreSQL does not run as root.
    user = "postgres" if os.geteuid() == 0 else None
    data = folder / "postgres"
    data.mkdir()
    if user is not None:
        for parent in [folder, *folder.parents]:
            if not os.stat(parent).st_mode & 0o001:
                raise RuntimeError(f"PostgreSQL's user cannot enter {parent}; use another --dir")
        shutil.chown(data, user)
    subprocess.run(
        [bin_folder / "initdb", "-D", data, "-A", "trust", "-U", "peer", "--no-locale", "-E", "UTF8"],
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
        user=user,
    )
    port = free_port()
    command = [str(bin_folder / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
    command += ["-k", "", "-c", "max_connections=200"]
    server = Server(folder, "postgres", command, dict(os.environ), cwd=Path("/"), user=user)
    ready = [bin_folder / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    for _ in range(600):
        server.check()
        if subprocess.run(ready, check=False).returncode == 0:
            return server, f"postgresql://peer@127.0.0.1:{port}/peer"
        time.sleep(0.05)
    raise RuntimeError("PostgreSQL did not start within 30 s")


async def drive(args: argparse.Namespace) -> tuple[float, list[float]]:
    """Starts the workflows, so many at once; gives the seconds and the times of all steps."""
    left = iter(range(args.tasks))
    times: list[float] = []
    begin = time.perf_counter()

    async def client() -> None:
        for _ in left:
            handle = await DBOS.start_workflow_async(run, args.steps)
            total, steps = await handle.get_result()
            if total != args.steps * (args.steps - 1) // 2:
                raise RuntimeError(f"a workflow returned {total}")
            times.extend(steps)

    async with asyncio.TaskGroup() as group:
        for _ in range(args.clients):
            group.create_task(client())
    return time.perf_counter() - begin, times


async def measure(folder: Path, servers: list[Server], args: argparse.Namespace) -> dict:
    if args.store == "postgres":
        server, url = postgres(folder)
        servers.append(server)
    else:
        url = f"sqlite:///{folder / 'dbos.sqlite'}"
    DBOS(
        config={
            "name": "peer",
            "system_database_url": url,
            "log_level": "ERROR",
            "sys_db_pool_size": args.clients,
        }
    )
    DBOS.launch()
    await (await DBOS.start_workflow_async(run, 10)).get_result()
    syncs = sync_times(folder)
    before = usage(servers)[0] + time.process_time()
    elapsed, times = await drive(args)
    cpu = usage(servers)[0] + time.process_time() - before
    own = next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    steps = args.tasks * args.steps
    return {
        "bench": "steps",
        "what": f"no-op steps of workflows, DBOS {version('dbos')} within one Python process",
        "store": args.store,
        "durability": {
            "postgres": "fsync and synchronous_commit on, as by default; each step is recorded",
            "sqlite": "as DBOS sets it; each step is recorded",
        }[args.store],
        "runs_at_once": args.clients,
        "tasks": args.tasks,
        "steps_per_task": args.steps,
        "steps_per_second": round(steps / elapsed, 3),
        "step_ms": {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99)},
        "server_cpu_us_per_step": round(cpu * 1e6 / steps, 3),
        "server_peak_rss_mib": round(usage(servers)[1] + own, 3),
        "fdatasync_ms": {"p50": percentile(syncs, 0.5), "p99": percentile(syncs, 0.99)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64, help="workflows at once")
    parser.add_argument("--tasks", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dir", type=Path, default=Path(), help="where the data may be")
    store = "postgres" if shutil.which("initdb") else "sqlite"
    parser.add_argument("--store", choices=["postgres", "sqlite"], default=store)
    args = parser.parse_args()
    servers: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="dbos-", dir=args.dir.resolve()) as folder:
        Path(folder).chmod(0o755)
        try:
            line = asyncio.run(measure(Path(folder), servers, args))
        finally:
            DBOS.destroy()
            for server in reversed(servers):
                server.stop()
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
