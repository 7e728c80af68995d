"""What the benches of the peers share: processes, what they use, times."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1


class Server:
    """One process of the peer, in a session of its own; it ends when this program does."""

    def __init__(
        self,
        folder: Path,
        name: str,
        command: list[str],
        env: dict[str, str],
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        libc = ctypes.CDLL(None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                user=user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
            )

    def check(self) -> None:
        """Raises if it has ended."""
        if self.process.poll() is not None:
            text = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}\n{text}")

    def stop(self) -> None:
        """Asks it to end, and after 10 s makes it, with the processes it started."""
        pids = family(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(10)


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def usage(servers: list[Server]) -> tuple[float, float]:
    """CPU seconds so far and the sum of the highest resident memory (MiB) of all processes."""
    ticks, memory = 0, 0
    for server in servers:
        for pid in family(server.process.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        memory += int(line.split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), memory / 1024


def sync_times(folder: Path) -> list[float]:
    """The milliseconds of a small durable append to this disk, now."""
    times = []
    with (folder / "probe").open("ab", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(300))
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begin) * 1e3)
    return times


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    values = sorted(values)
    return round(values[round((len(values) - 1) * share)], 3) if values else float("nan")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
