//! Cgroups of calls, of version 2 or 1: their limits on memory and on processes.
//!
//! A zygote has a group `opspawn-sandbox-PID` below its own, with a group for each slot in it, which later
//! calls use again: making one costs more than all the rest of a call. Groups of zygotes that are gone are
//! taken away at the next start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::sys::process;
use crate::report::Holder;

const PREFIX: &str = "opspawn-sandbox-";
/// Where version 2 wants the server's own processes, as a group with groups in it may have no processes.
const SERVER: &str = "opspawn-server";

/// The groups that this zygote can make.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    memory: Option<Group>,
    processes: Option<Group>,
    pub(crate) notes: Vec<String>,
}

/// The group of this zygote for a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    version: Version,
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A call's place in the groups.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// A process that writes `0` here is in the group.
    joins: Vec<File>,
    /// Where the kernel counts processes that it killed for want of memory.
    kills: Option<File>,
}

/// One line of `mountinfo` that mounts cgroups.
struct Mounted {
    root: String,
    at: String,
    kind: String,
    options: String,
}

impl Cgroups {
    /// The controllers that can be used here. `root` is `/`, but for tests; `server` is the process that calls run for.
    pub(crate) fn find(root: &Path, zygote: i32, server: i32) -> Self {
        let mut found = Self::default();
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let mounts: Vec<Mounted> = read("proc/self/mountinfo")
            .lines()
            .filter_map(mounted)
            .collect();
        let own = read("proc/self/cgroup");
        let folder = |mounted: &Mounted, path: &str| {
            let below = path.strip_prefix(mounted.root.trim_end_matches('/'));
            let below = below.unwrap_or(path).trim_start_matches('/');
            root.join(mounted.at.trim_start_matches('/')).join(below)
        };
        for line in own.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if controllers.is_empty() {
                let two = mounts.iter().find(|mounted| mounted.kind == "cgroup2");
                if let Some(mounted) = two {
                    found.version_2(&folder(mounted, path), zygote, server);
                }
                continue;
            }
            for controller in controllers.split(',') {
                let is_it = |mounted: &&Mounted| {
                    mounted.kind == "cgroup"
                        && mounted
                            .options
                            .split(',')
                            .any(|option| option == controller)
                };
                let Some(mounted) = mounts.iter().find(is_it) else {
                    continue;
                };
                let folder = folder(mounted, path);
                match controller {
                    "memory" if found.memory.is_none() => {
                        found.memory = found.version_1(&folder, zygote, controller);
                    }
                    "pids" if found.processes.is_none() => {
                        found.processes = found.version_1(&folder, zygote, controller);
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn version_1(&mut self, own: &Path, zygote: i32, controller: &str) -> Option<Group> {
        sweep(own);
        let folder = own.join(format!("{PREFIX}{zygote}"));
        match make(&folder) {
            Ok(()) => Some(Group {
                version: Version::One,
                folder,
            }),
            Err(error) => {
                self.notes
                    .push(format!("no cgroup v1 for {controller}: {error}"));
                None
            }
        }
    }

    fn version_2(&mut self, own: &Path, zygote: i32, server: i32) {
        let has = |file: &Path, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.split_whitespace().any(|word| word == name)
        };
        // After an earlier start the server is one group further down.
        let own = match own.file_name() {
            Some(name) if name == SERVER => own.parent().unwrap_or(own),
            _ => own,
        };
        let wanted: Vec<&str> = ["memory", "pids"]
            .into_iter()
            .filter(|name| has(&own.join("cgroup.controllers"), name))
            .collect();
        if wanted.is_empty() {
            return;
        }
        sweep(own);
        let control = own.join("cgroup.subtree_control");
        let enable: String = wanted.iter().map(|name| format!("+{name} ")).collect();
        let made = || -> io::Result<PathBuf> {
            if !wanted.iter().all(|name| has(&control, name)) {
                move_own(own, zygote, server)?;
                write(&control, enable.trim_end())?;
            }
            let folder = own.join(format!("{PREFIX}{zygote}"));
            make(&folder)?;
            write(&folder.join("cgroup.subtree_control"), enable.trim_end())?;
            Ok(folder)
        };
        match made() {
            Ok(folder) => {
                let group = |name| {
                    wanted.contains(&name).then(|| Group {
                        version: Version::Two,
                        folder: folder.clone(),
                    })
                };
                self.memory = group("memory");
                self.processes = group("pids");
            }
            Err(error) => self.notes.push(format!(
                "no cgroup v2: {error}; a systemd unit gives one with Delegate=yes"
            )),
        }
    }

    /// Holder of the limit on memory.
    pub(crate) fn memory(&self) -> Holder {
        holder(self.memory.as_ref(), Holder::Watch)
    }

    /// Holder of the limit on processes.
    pub(crate) fn processes(&self) -> Holder {
        holder(self.processes.as_ref(), Holder::Rlimit)
    }

    /// The groups where they are seen from a root that was moved.
    pub(crate) fn seen_below(&mut self, old: &Path) {
        for group in [&mut self.memory, &mut self.processes]
            .into_iter()
            .flatten()
        {
            let path = group.folder.strip_prefix("/").unwrap_or(&group.folder);
            group.folder = old.join(path);
        }
    }

    /// Sets the limits of a slot: bytes, and processes.
    pub(crate) fn prepare(&self, slot: u32, memory: u64, processes: u32) -> io::Result<Membership> {
        let mut membership = Membership::default();
        let mut joined: Vec<PathBuf> = Vec::new();
        let mut join = |membership: &mut Membership, folder: &Path| -> io::Result<()> {
            let file = folder.join("cgroup.procs");
            if !joined.contains(&file) {
                membership.joins.push(open_to_write(&file)?);
                joined.push(file);
            }
            Ok(())
        };
        if let Some(group) = &self.memory {
            let folder = group.slot(slot)?;
            let limit = memory.to_string();
            match group.version {
                Version::Two => {
                    write(&folder.join("memory.max"), &limit)?;
                    // Not every kernel has these two.
                    let _ = write(&folder.join("memory.swap.max"), "0");
                    let _ = write(&folder.join("memory.oom.group"), "1");
                    membership.kills = Some(File::open(folder.join("memory.events"))?);
                }
                Version::One => {
                    // The limit with swap is never below the one without, whichever way they change.
                    let with_swap = folder.join("memory.memsw.limit_in_bytes");
                    let _ = write(&with_swap, &limit);
                    write(&folder.join("memory.limit_in_bytes"), &limit)?;
                    let _ = write(&with_swap, &limit);
                    membership.kills = Some(File::open(folder.join("memory.oom_control"))?);
                }
            }
            join(&mut membership, &folder)?;
        }
        if let Some(group) = &self.processes {
            let folder = group.slot(slot)?;
            write(&folder.join("pids.max"), &processes.to_string())?;
            join(&mut membership, &folder)?;
        }
        Ok(membership)
    }

    /// Takes the groups of this zygote away. Its calls are over.
    pub(crate) fn remove(&self) {
        for group in [&self.memory, &self.processes].into_iter().flatten() {
            remove(&group.folder);
        }
    }
}

fn holder(group: Option<&Group>, otherwise: Holder) -> Holder {
    match group.map(|group| group.version) {
        Some(Version::Two) => Holder::CgroupV2,
        Some(Version::One) => Holder::CgroupV1,
        None => otherwise,
    }
}

impl Group {
    fn slot(&self, slot: u32) -> io::Result<PathBuf> {
        let folder = self.folder.join(slot.to_string());
        make(&folder)?;
        Ok(folder)
    }
}

impl Membership {
    /// Moves this process into the groups.
    pub(crate) fn join(&mut self) -> io::Result<()> {
        for file in &mut self.joins {
            file.write_all(b"0")?;
        }
        Ok(())
    }

    /// How often the kernel has killed a process of the group for want of memory.
    pub(crate) fn memory_kills(&mut self) -> u64 {
        let Some(file) = &mut self.kills else {
            return 0;
        };
        let mut text = String::new();
        if file.seek(SeekFrom::Start(0)).is_err() || file.read_to_string(&mut text).is_err() {
            return 0;
        }
        let counts = text
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "));
        counts
            .filter_map(|count| count.trim().parse::<u64>().ok())
            .sum()
    }
}

/// Moves the processes of the server's own group one group down, if there are no others in it.
fn move_own(own: &Path, zygote: i32, server: i32) -> io::Result<()> {
    let procs = fs::read_to_string(own.join("cgroup.procs"))?;
    let pids: Vec<i32> = procs
        .lines()
        .filter_map(|pid| pid.trim().parse().ok())
        .collect();
    if pids.iter().any(|pid| ![zygote, server].contains(pid)) {
        return Err(io::Error::other(format!(
            "{} has other processes in it",
            own.display()
        )));
    }
    if pids.is_empty() {
        return Ok(());
    }
    let below = own.join(SERVER);
    make(&below)?;
    for pid in pids {
        write(&below.join("cgroup.procs"), &pid.to_string())?;
    }
    Ok(())
}

fn mounted(line: &str) -> Option<Mounted> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, at) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, _, options) = (back.next()?, back.next()?, back.next()?);
    kind.starts_with("cgroup").then(|| Mounted {
        root: root.to_owned(),
        at: at.to_owned(),
        kind: kind.to_owned(),
        options: options.to_owned(),
    })
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn open_to_write(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(file)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    open_to_write(file)?.write_all(text.as_bytes())
}

/// Removes a group and the groups in it, if no process is left in them.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Removes the groups of zygotes that are gone.
fn sweep(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = pid.and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| !process::exists(pid)) {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files as the kernel shows it.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(mountinfo: &str, own: &str) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            tree.put("proc/self/mountinfo", mountinfo);
            tree.put("proc/self/cgroup", own);
            tree
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn get(&self, path: &str) -> String {
            fs::read_to_string(self.0.path().join(path)).unwrap()
        }
    }

    const TWO: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const OWN: &str = "sys/fs/cgroup/system.slice/opspawn.service";

    fn delegated() -> Tree {
        let tree = Tree::new(TWO, "0::/system.slice/opspawn.service\n");
        tree.put(&format!("{OWN}/cgroup.controllers"), "cpu memory pids\n");
        tree.put(&format!("{OWN}/cgroup.subtree_control"), "");
        tree.put(&format!("{OWN}/cgroup.procs"), "70\n77\n");
        // The kernel makes these files with the groups.
        tree.put(&format!("{OWN}/opspawn-server/cgroup.procs"), "");
        let zygote = format!("{OWN}/opspawn-sandbox-77");
        tree.put(&format!("{zygote}/cgroup.subtree_control"), "");
        for file in [
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "pids.max",
        ] {
            tree.put(&format!("{zygote}/3/{file}"), "");
        }
        tree.put(&format!("{zygote}/3/cgroup.procs"), "");
        tree.put(&format!("{zygote}/3/memory.events"), "oom 2\noom_kill 2\n");
        tree
    }

    #[test]
    fn a_delegated_group_of_version_2_holds_memory_and_processes() {
        let tree = delegated();
        let groups = Cgroups::find(tree.0.path(), 77, 70);
        assert_eq!(groups.notes, Vec::<String>::new());
        assert_eq!(
            (groups.memory(), groups.processes()),
            (Holder::CgroupV2, Holder::CgroupV2)
        );
        // The kernel refuses controllers for groups below one that has processes itself.
        assert_eq!(
            tree.get(&format!("{OWN}/opspawn-server/cgroup.procs")),
            "77"
        );
        assert_eq!(
            tree.get(&format!("{OWN}/cgroup.subtree_control")),
            "+memory +pids"
        );
        let mut slot = groups.prepare(3, 1 << 20, 9).unwrap();
        let zygote = format!("{OWN}/opspawn-sandbox-77");
        assert_eq!(
            tree.get(&format!("{zygote}/cgroup.subtree_control")),
            "+memory +pids"
        );
        assert_eq!(tree.get(&format!("{zygote}/3/memory.max")), "1048576");
        assert_eq!(tree.get(&format!("{zygote}/3/memory.swap.max")), "0");
        assert_eq!(tree.get(&format!("{zygote}/3/memory.oom.group")), "1");
        assert_eq!(tree.get(&format!("{zygote}/3/pids.max")), "9");
        assert_eq!(slot.memory_kills(), 2);
        slot.join().unwrap();
        assert_eq!(tree.get(&format!("{zygote}/3/cgroup.procs")), "0");
    }

    #[test]
    fn a_server_that_moved_itself_before_finds_its_group_again() {
        let tree = delegated();
        tree.put(
            "proc/self/cgroup",
            "0::/system.slice/opspawn.service/opspawn-server\n",
        );
        tree.put(&format!("{OWN}/cgroup.subtree_control"), "memory pids\n");
        let groups = Cgroups::find(tree.0.path(), 77, 70);
        assert_eq!(groups.memory(), Holder::CgroupV2);
        assert_eq!(
            tree.get(&format!("{OWN}/cgroup.subtree_control")),
            "memory pids\n"
        );
    }

    #[test]
    fn a_group_with_processes_of_others_is_not_used_and_the_note_says_why() {
        let tree = delegated();
        tree.put(&format!("{OWN}/cgroup.procs"), "1\n70\n77\n");
        let groups = Cgroups::find(tree.0.path(), 77, 70);
        assert_eq!(
            (groups.memory(), groups.processes()),
            (Holder::Watch, Holder::Rlimit)
        );
        assert!(
            groups.notes[0].contains("has other processes in it"),
            "{:?}",
            groups.notes
        );
        assert!(
            groups.notes[0].contains("Delegate=yes"),
            "{:?}",
            groups.notes
        );
        assert_eq!(tree.get(&format!("{OWN}/cgroup.subtree_control")), "");
    }

    #[test]
    fn controllers_of_version_1_are_found_where_they_are_mounted() {
        let mounts = "40 30 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 30 0:32 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      42 30 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "9:memory:/docker/x/a\n8:pids:/docker/x\n0::/\n";
        let tree = Tree::new(mounts, own);
        tree.put("sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n");
        let memory = "sys/fs/cgroup/memory/a/opspawn-sandbox-77/0";
        for file in [
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "cgroup.procs",
        ] {
            tree.put(&format!("{memory}/{file}"), "");
        }
        tree.put(
            &format!("{memory}/memory.oom_control"),
            "under_oom 0\noom_kill 1\n",
        );
        let pids = "sys/fs/cgroup/pids/opspawn-sandbox-77/0";
        tree.put(&format!("{pids}/pids.max"), "");
        tree.put(&format!("{pids}/cgroup.procs"), "");
        let groups = Cgroups::find(tree.0.path(), 77, 70);
        assert_eq!(
            (groups.memory(), groups.processes()),
            (Holder::CgroupV1, Holder::CgroupV1)
        );
        let mut slot = groups.prepare(0, 4096, 5).unwrap();
        assert_eq!(slot.memory_kills(), 1);
        slot.join().unwrap();
        assert_eq!(tree.get(&format!("{memory}/memory.limit_in_bytes")), "4096");
        assert_eq!(
            tree.get(&format!("{memory}/memory.memsw.limit_in_bytes")),
            "4096"
        );
        assert_eq!(tree.get(&format!("{memory}/cgroup.procs")), "0");
        assert_eq!(tree.get(&format!("{pids}/pids.max")), "5");
        assert_eq!(tree.get(&format!("{pids}/cgroup.procs")), "0");
    }

    #[test]
    fn groups_of_zygotes_that_are_gone_are_taken_away() {
        let tree = delegated();
        // No process has this id: it is above the largest that Linux gives.
        let gone = tree.0.path().join(OWN).join("opspawn-sandbox-5000000");
        fs::create_dir_all(gone.join("0")).unwrap();
        drop(Cgroups::find(tree.0.path(), 77, 70));
        assert!(!gone.exists());
    }
}
