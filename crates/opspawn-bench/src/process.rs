//! What the kernel has counted for a process.

use std::{collections::BTreeMap, fs, io};

/// Memory, CPU and bytes of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU seconds, user and system.
    pub(crate) cpu: f64,
    /// Resident memory now, in MiB.
    pub(crate) rss: f64,
    /// Resident memory at its highest, in MiB.
    pub(crate) peak: f64,
    /// Bytes written.
    pub(crate) written: u64,
}

impl Usage {
    /// Of a process so far.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let stat = read("stat")?;
        // After the program's name in parentheses: utime and stime are fields 14 and 15 (proc(5)).
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u32 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u32>().ok())
            .sum();
        let status = fields(&read("status")?);
        let mib = |key: &str| {
            let text = status.get(key).map_or("0", String::as_str);
            let kib = text.trim_end_matches(" kB").trim().parse::<f64>();
            kib.unwrap_or(0.0) / 1_024.0
        };
        let written = fields(&read("io").unwrap_or_default());
        Ok(Self {
            cpu: f64::from(ticks) / 100.0,
            rss: mib("VmRSS"),
            peak: mib("VmHWM"),
            written: written
                .get("wchar")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
        })
    }

    /// Of this process so far.
    pub(crate) fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }
}

/// Forgets how much memory this process had at its highest (proc(5): clear_refs), where it may.
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// CPU microseconds of the threads that a process has: finer than the ticks of [`Usage`], and blind
/// to threads that have ended.
pub(crate) fn cpu_micros(pid: u32) -> io::Result<f64> {
    let mut nanos = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that ends meanwhile is not counted.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next().unwrap_or_default();
        nanos += first.parse::<f64>().unwrap_or(0.0);
    }
    Ok(nanos / 1e3)
}

fn fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}
