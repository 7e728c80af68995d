//! Processes that a dead host left behind.
//!
//! A host that is killed cannot end its servers, and a wrapper such as `npx` outlives the server that it
//! started. So each group of processes carries a random mark in its environment, which whatever they start
//! inherits, whatever group or session that goes to; and a record of the group lies in a folder while it
//! runs. The next start ends what records still name, found by the mark, or by the leader's number and
//! start time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::{Pid, Signal};

/// The variable that holds the mark.
pub(crate) const MARK: &str = "OPSPAWN_MCP_GROUP";
/// The label of containers.
pub(crate) const LABEL: &str = "opspawn.mcp";

/// A new mark.
pub(crate) fn new_mark() -> String {
    units::hex::encode(rand::random::<[u8; 16]>())
}

/// Where groups are recorded; nowhere for a host without a folder.
#[derive(Debug, Clone, Default)]
pub struct Records(Option<Arc<Path>>);

impl Records {
    /// Records in a folder, which is made.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(Some(folder.into())))
    }

    fn path(&self, mark: &str) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(mark))
    }

    pub(crate) fn begin(&self, mark: &str) {
        if let Some(path) = self.path(mark)
            && let Err(error) = fs::write(path, "")
        {
            tracing::warn!(%error, "an MCP server cannot be recorded: a crash would leave it running");
        }
    }

    pub(crate) fn started(&self, mark: &str, leader: Pid) {
        if let Some(path) = self.path(mark) {
            let start = start_time(leader).unwrap_or_default();
            let _ = fs::write(path, format!("{} {start}", leader.as_raw_nonzero()));
        }
    }

    pub(crate) fn end(&self, mark: &str) {
        if let Some(path) = self.path(mark) {
            let _ = fs::remove_file(path);
        }
    }

    /// Ends processes that an earlier host left, and says how many groups there were.
    #[must_use]
    pub fn sweep(&self) -> usize {
        let Some(folder) = &self.0 else { return 0 };
        let Ok(entries) = fs::read_dir(folder) else {
            return 0;
        };
        let mut swept = 0;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(mark) = name
                .to_str()
                .filter(|name| units::hex::decode_array::<16>(name).is_some())
            else {
                continue;
            };
            let record = fs::read_to_string(entry.path()).unwrap_or_default();
            let mut found = kill_marked(mark) > 0;
            // A leader may have changed its environment; its number may be another process's by now.
            if let Some((pid, start)) = record.split_once(' ')
                && let Some(leader) = pid.parse().ok().and_then(Pid::from_raw)
                && !start.is_empty()
                && start_time(leader).as_deref() == Some(start)
            {
                let _ = rustix::process::kill_process_group(leader, Signal::KILL);
                found = true;
            }
            swept += usize::from(found);
            let _ = fs::remove_file(entry.path());
        }
        swept
    }
}

/// Kills every process that carries a mark, and says how many there were. What they start meanwhile
/// carries it too, so it looks until there is none.
pub(crate) fn kill_marked(mark: &str) -> usize {
    let wanted = format!("{MARK}={mark}");
    let mut killed = 0;
    for _ in 0..10 {
        let found = marked(&wanted);
        if found.is_empty() {
            break;
        }
        for pid in &found {
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
        killed += found.len();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    killed
}

/// Processes with this in their environment, of those that this process may look at.
fn marked(wanted: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = rustix::process::getpid();
    let marked = entries.flatten().filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        (pid != own && variables.any(|one| one == wanted.as_bytes()) && !is_dead(&entry.path()))
            .then_some(pid)
    });
    marked.collect()
}

/// Whether a process has ended and its status was not asked for yet.
fn is_dead(folder: &Path) -> bool {
    let Some(rest) = stat(folder) else {
        return true;
    };
    matches!(rest.chars().next(), Some('Z' | 'X'))
}

/// When a process started, in ticks since the machine did: with its number, it names one process for good.
fn start_time(pid: Pid) -> Option<String> {
    let rest = stat(Path::new(&format!("/proc/{}", pid.as_raw_nonzero())))?;
    // Field 22 of the file; the rest begins with the third.
    rest.split(' ').nth(19).map(str::to_owned)
}

/// `/proc/PID/stat` after the name, which may hold spaces and brackets.
fn stat(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
        time::Duration,
    };

    use super::*;

    fn wait_for(mut done: impl FnMut() -> bool) {
        for _ in 0..500 {
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not come");
    }

    /// ahead-tools/2: a process that left its group and session is found all the same.
    #[test]
    fn a_sweep_ends_what_carries_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::in_folder(folder.path()).unwrap();
        let mark = new_mark();
        let mut child = Command::new("sh")
            .args(["-c", "setsid sleep 600 & sleep 600 & exec sleep 600"])
            .env(MARK, &mark)
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        records.started(&mark, Pid::from_child(&child));
        let wanted = format!("{MARK}={mark}");
        wait_for(|| marked(&wanted).len() == 3);

        assert_eq!(Records::in_folder(folder.path()).unwrap().sweep(), 1);
        wait_for(|| marked(&wanted).is_empty());
        child.wait().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(records.sweep(), 0);
    }

    #[test]
    fn a_number_that_is_another_process_s_by_now_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::in_folder(folder.path()).unwrap();
        let mut other = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .unwrap();
        let path = folder.path().join(new_mark());
        fs::write(&path, format!("{} 1", other.id())).unwrap();
        fs::write(folder.path().join("a note of somebody's"), "").unwrap();
        assert_eq!(records.sweep(), 0);
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
