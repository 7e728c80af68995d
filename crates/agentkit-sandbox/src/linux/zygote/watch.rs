//! The watch over the processes of one call, which ends them at a limit.
//!
//! The kernel holds few of the limits by itself. The first process of the sandbox looks at `/proc` for the others:
//! processor time, memory where no cgroup counts it, and the files in folders that may be written.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::Zygote;
use crate::linux::{
    cgroups::Membership,
    filter::MemoryCount,
    sys::{
        mounts,
        process::{self, Status as Ended},
        sockets,
    },
    wire::{Granted, How, Limits},
};

/// Interval between two looks at used memory and time.
const LOOK: Duration = Duration::from_millis(20);
/// How often the files in granted folders are counted.
const LOOK_AT_DISK: Duration = Duration::from_millis(250);

/// Memory that is in no resident set is summed up at each so many looks: it takes longer to read.
const LOOKS_AT_REST: u32 = 4;
/// Ticks up to which the exact time of a process is read.
const FEW_TICKS: u64 = 10;

/// Bytes that the kernel may keep in the buffers of one socket, if it does not say so: twice its largest buffer.
const SOCKET_BYTES: u64 = 2 * 212_992;
/// Size of the table of descriptors of a process that never had more than 63.
const SMALL_TABLE: u64 = 64;

/// State of the watch over a program.
pub(super) struct Watch<'a> {
    zygote: &'a Zygote,
    limits: Limits,
    grants: &'a [Granted],
    membership: &'a mut Membership,
    status: BorrowedFd<'a>,
    /// Clock ticks a second, and bytes of a page.
    units: (u64, u64),
    next_disk: Instant,
    /// Processes that the kernel had killed in this slot before.
    kills: u64,
    times: Times,
    looks: u32,
    /// The most processor time that was seen.
    pub(super) cpu: Duration,
}

/// Processor time of processes by their own, also of processes that nobody waited for.
///
/// The kernel adds the time of an ended process to its parent only if the parent waits for it. A program that ignores
/// `SIGCHLD` would use as much time as it likes in children that end soon.
#[derive(Debug, Default)]
struct Times {
    /// Latest time of each living process, by its id and start.
    living: HashMap<(u32, u64), Duration>,
    /// Latest times of the processes that are gone.
    gone: Duration,
}

impl Times {
    /// Takes the times of the processes that live now. Returns the time of all processes so far.
    fn look(&mut self, living: HashMap<(u32, u64), Duration>) -> Duration {
        for (process, time) in std::mem::take(&mut self.living) {
            if !living.contains_key(&process) {
                self.gone += time;
            }
        }
        self.living = living;
        self.gone + self.living.values().sum::<Duration>()
    }
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        zygote: &'a Zygote,
        limits: Limits,
        grants: &'a [Granted],
        membership: &'a mut Membership,
        status: BorrowedFd<'a>,
    ) -> Self {
        let kills = membership.memory_kills();
        Self {
            zygote,
            limits,
            grants,
            membership,
            status,
            units: process::units(),
            next_disk: Instant::now() + LOOK_AT_DISK,
            kills,
            times: Times::default(),
            looks: 0,
            cpu: Duration::ZERO,
        }
    }

    /// Waits for the end of the process `main`, or for the first limit that is passed.
    pub(super) fn until_it_ends(&mut self, main: i32, started: Instant) -> How {
        let deadline = started + Duration::from_millis(self.limits.wall_ms);
        let mut ended = None;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return How::WallClock;
            }
            let pause = LOOK.min(deadline - now);
            let pause = u32::try_from(pause.as_millis()).unwrap_or(1).max(1);
            let polled = sockets::poll(self.status, self.zygote.signals.as_fd(), Some(pause));
            let Ok([host, signals]) = polled else {
                return How::Abandoned;
            };
            // The host says nothing but that it wants an end.
            if host.readable || host.closed {
                let _ = sockets::receive(self.status, &mut [0; 16], &mut Vec::new(), false);
                return How::Abandoned;
            }
            if signals.readable {
                sockets::drain_signals(self.zygote.signals.as_fd());
                while let Some((pid, status)) = process::reap(false) {
                    if pid == main {
                        ended = Some(status);
                    }
                }
            }
            if self.membership.memory_kills() > self.kills {
                return How::Memory;
            }
            match ended {
                Some(Ended::Exited(code)) => return How::Exited(code),
                Some(Ended::Signalled(libc::SIGXCPU)) => return How::Cpu,
                Some(Ended::Signalled(libc::SIGXFSZ)) => return How::Disk,
                Some(Ended::Signalled(signal)) => return How::Signalled(signal),
                None => {}
            }
            if let Some(how) = self.passed() {
                return how;
            }
        }
    }

    /// The limit that is passed, if any.
    fn passed(&mut self) -> Option<How> {
        let (mut ticks, mut memory) = (0, 0);
        let mut times = HashMap::new();
        self.looks = self.looks.wrapping_add(1);
        for pid in others() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let used = used_ticks(&stat);
            ticks += used.own + used.children;
            // Ticks are long for a process that ends soon; its first thread's time is known exactly.
            let own = match used.own {
                0..=FEW_TICKS => {
                    let exact = fs::read_to_string(format!("/proc/{pid}/schedstat"));
                    self.time(used.own)
                        .max(run_time(&exact.unwrap_or_default()))
                }
                _ => self.time(used.own),
            };
            times.insert((pid, used.started), own);
            if self.zygote.memory == MemoryCount::ResidentSets {
                memory += self.memory_of(pid);
            }
        }
        let live = self.time(ticks) + process::used_by_children().cpu;
        self.cpu = self.cpu.max(live).max(self.times.look(times));
        if super::init::millis(self.cpu) >= self.limits.cpu_ms {
            return Some(How::Cpu);
        }
        if self.zygote.memory == MemoryCount::ResidentSets {
            let files = mounts::used_bytes(Path::new("/tmp")).unwrap_or(0);
            if memory + files > self.limits.memory {
                return Some(How::Memory);
            }
        }
        let limited = self.limits.disk_bytes < u64::MAX || self.limits.disk_files < u64::MAX;
        if limited && Instant::now() >= self.next_disk {
            let begun = Instant::now();
            if self.is_disk_full() {
                return Some(How::Disk);
            }
            // A tree that takes long to count is counted less often.
            self.next_disk = Instant::now() + LOOK_AT_DISK.max(begun.elapsed() * 10);
        }
        None
    }

    fn time(&self, ticks: u64) -> Duration {
        Duration::from_millis(ticks * 1000 / self.units.0)
    }

    /// Bytes of a process: its resident set, its page tables, and what its sockets may hold.
    ///
    /// Page tables grow without a resident page where a program reads memory that it never wrote, and buffers of
    /// sockets are in no resident set at all.
    fn memory_of(&self, pid: u32) -> u64 {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let resident = resident_pages(&read("statm")) * self.units.1;
        if !self.looks.is_multiple_of(LOOKS_AT_REST) {
            return resident;
        }
        let status = read("status");
        let tables = status_number(&status, "VmPTE:") * 1024;
        let sockets = match status_number(&status, "FDSize:") {
            // The look at each descriptor costs more than the rest: it is for processes that have many.
            0..=SMALL_TABLE => 0,
            _ => sockets_of(pid) * SOCKET_BYTES,
        };
        resident + tables + sockets
    }

    /// Whether the folders that may be written hold more than they may.
    fn is_disk_full(&self) -> bool {
        let (mut bytes, mut files) = (0_u64, 0_u64);
        let mut devices = HashSet::new();
        let writable = self.grants.iter().filter(|granted| granted.writable);
        let mut folders: Vec<PathBuf> = writable.map(|granted| granted.target.clone()).collect();
        for folder in &folders {
            devices.extend(fs::metadata(folder).map(|found| found.dev()));
        }
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                // Nobody could count what lies there, nor take it away by its path.
                Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => return true,
                Err(_) => continue,
            };
            for entry in entries.flatten() {
                // Of the entry itself, not of what it links to.
                let Ok(found) = entry.metadata() else {
                    continue;
                };
                if found.is_dir() {
                    folders.push(entry.path());
                }
                files += 1;
                bytes = bytes.saturating_add(found.blocks().saturating_mul(512));
                if bytes > self.limits.disk_bytes || files > self.limits.disk_files {
                    return true;
                }
            }
        }
        bytes.saturating_add(removed_bytes(&devices)) > self.limits.disk_bytes
    }
}

/// Bytes on these devices of files that have no name any more and are open or mapped. Such a file keeps its room
/// until the last process that holds it ends.
fn removed_bytes(devices: &HashSet<u64>) -> u64 {
    let (mut bytes, mut seen) = (0_u64, HashSet::new());
    for pid in others() {
        for held in ["fd", "map_files"] {
            let entries = fs::read_dir(format!("/proc/{pid}/{held}"));
            for entry in entries.into_iter().flatten().flatten() {
                let Ok(found) = fs::metadata(entry.path()) else {
                    continue;
                };
                let is_removed = found.is_file() && found.nlink() == 0;
                if is_removed
                    && devices.contains(&found.dev())
                    && seen.insert((found.dev(), found.ino()))
                {
                    bytes = bytes.saturating_add(found.blocks().saturating_mul(512));
                }
            }
        }
    }
    bytes
}

/// Ids of the processes of the sandbox, without the first.
fn others() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != 1)
}

/// How many sockets a process has open.
fn sockets_of(pid: u32) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = entries.into_iter().flatten().flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter(|link| link.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
        .count() as u64
}

/// Processor time in ticks, of the text of `/proc/PID/stat`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ticks {
    own: u64,
    /// Of the children that the process waited for.
    children: u64,
    /// When the process started.
    started: u64,
}

fn used_ticks(stat: &str) -> Ticks {
    // The name in parentheses may hold anything.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return Ticks::default();
    };
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || -> u64 {
        let field = fields.next();
        field.and_then(|field| field.parse().ok()).unwrap_or(0)
    };
    let own = next() + next();
    let children = next() + next();
    let _ = (next(), next(), next(), next());
    Ticks {
        own,
        children,
        started: next(),
    }
}

/// Processor time of a thread, of the text of its `schedstat`.
fn run_time(schedstat: &str) -> Duration {
    let field = schedstat.split_whitespace().next();
    Duration::from_nanos(field.and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// Resident pages, of the text of `/proc/PID/statm`.
fn resident_pages(statm: &str) -> u64 {
    let field = statm.split_whitespace().nth(1);
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The number behind a name, of the text of `/proc/PID/status`.
fn status_number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_time_and_memory_are_read_from_proc() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7";
        let used = Ticks {
            own: 33,
            children: 77,
            started: 5,
        };
        assert_eq!(used_ticks(stat), used);
        assert_eq!(used_ticks(""), Ticks::default());
        assert_eq!(run_time("1500 70 3\n"), Duration::from_nanos(1500));
        assert_eq!(run_time(""), Duration::ZERO);
        assert_eq!(resident_pages("600 123 4 5 6 7 8"), 123);
        assert_eq!(resident_pages(""), 0);
        let status = "Name:\tVmPTE: 7\nFDSize:\t256\nVmPTE:\t      44 kB\n";
        assert_eq!(status_number(status, "VmPTE:"), 44);
        assert_eq!(status_number(status, "FDSize:"), 256);
        assert_eq!(status_number(status, "VmSwap:"), 0);
    }

    #[test]
    fn the_time_of_a_process_counts_after_its_end() {
        let seconds = Duration::from_secs;
        let mut times = Times::default();
        assert_eq!(times.look([((7, 1), seconds(1))].into()), seconds(1));
        assert_eq!(times.look([((8, 2), seconds(2))].into()), seconds(3));
        // The same id, started anew.
        assert_eq!(times.look([((8, 3), seconds(1))].into()), seconds(4));
        assert_eq!(times.look(HashMap::new()), seconds(4));
    }
}
