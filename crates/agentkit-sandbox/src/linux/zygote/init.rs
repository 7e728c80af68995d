//! The first process of a sandbox makes the call's view of the machine, starts the program, and ends all processes.
//!
//! The process has id 1 in a process namespace. Descendants that lose their parent become its children, also in groups
//! and sessions of their own, and when it ends, the kernel kills all that are left. Programs cannot signal
//! the process.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use super::{Zygote, payload, send, tree, watch::Watch};
use crate::{
    linux::{
        cgroups::Membership,
        sys::{
            mounts,
            process::{self, Cloned},
            sockets,
        },
        wire::{Granted, Run, Status},
    },
    report::{SetupError, Step},
};

/// Parameters of the first process.
pub(super) struct Call {
    pub(super) run: Run,
    /// Socket to the host.
    pub(super) status: OwnedFd,
    /// Standard input, output and error.
    pub(super) standard: Vec<OwnedFd>,
    /// The user of the call, and the namespace that maps owners of files to it.
    pub(super) owners: Option<(u32, OwnedFd)>,
    pub(super) membership: Membership,
}

/// The life of the first process.
pub(super) fn main(zygote: &Zygote, mut call: Call) -> ! {
    let failed = |status: &OwnedFd, error: SetupError| -> ! {
        let _ = send(status.as_fd(), &Status::Failed(error), &[]);
        process::exit(1)
    };
    // The zygote has one thread, which does not end before it.
    let _ = process::die_with_parent();
    if let Err(error) = zygote.forget_control() {
        failed(&call.status, SetupError::new(Step::Helper, &error));
    }
    let proc = match prepare(&call) {
        Ok(proc) => proc,
        Err(error) => failed(&call.status, error),
    };
    let started = Instant::now();
    let main = match process::clone(0) {
        Ok(Cloned::Parent(pid)) => pid,
        Ok(Cloned::Child) => payload::main(zygote, &mut call, &proc),
        Err(error) => failed(&call.status, SetupError::new(Step::Namespaces, &error)),
    };
    // What the program reads to the end must have no other end here.
    call.standard.clear();
    let grants = &call.run.grants;
    let (limits, status) = (call.run.limits, call.status.as_fd());
    let mut watch = Watch::new(zygote, limits, grants, &mut call.membership, status);
    let how = watch.until_it_ends(main, started);
    let seen = watch.cpu;
    process::kill(-1);
    while process::reap(true).is_some() {}
    let used = process::used_by_children();
    let ended = Status::Ended {
        how,
        cpu_ms: millis(used.cpu.max(seen)),
        max_rss: used.max_rss,
    };
    let _ = send(call.status.as_fd(), &ended, &[]);
    process::exit(0)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Makes the call's mounts and, for a call with a network, its listener. Gives a folder of `/proc` that can be
/// written, which the program cannot reach.
fn prepare(call: &Call) -> Result<OwnedFd, SetupError> {
    let at = |step| move |error: io::Error| SetupError::new(step, &error);
    if call.run.proxy {
        sockets::loopback_up().map_err(at(Step::NetworkNamespace))?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", crate::PROXY_PORT))
            .map_err(at(Step::NetworkNamespace))?;
        send(call.status.as_fd(), &Status::Listening, &[listener.as_fd()])
            .map_err(at(Step::NetworkNamespace))?;
    }
    let new = Path::new(tree::NEW);
    let below = |path: &Path| new.join(path.strip_prefix("/").unwrap_or(path));
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let proc = new.join("proc");
    mounts::file_system("proc", &proc, flags | libc::MS_NOEXEC, "").map_err(at(Step::Proc))?;
    let writable = mounts::copy(None, &proc).map_err(at(Step::Proc))?;
    mounts::remount_read_only(&proc).map_err(at(Step::Proc))?;
    let size = (call.run.limits.memory / 2).max(1 << 20);
    let options = format!("mode=1777,size={size},nr_inodes=65536");
    mounts::file_system("tmpfs", &new.join("tmp"), flags, &options).map_err(at(Step::Root))?;
    let owners = call.owners.as_ref().map(|(_, namespace)| namespace.as_fd());
    for granted in &call.run.grants {
        // The call's `/tmp` covers mount points of the tree.
        if granted.target.starts_with("/tmp") {
            fs::create_dir_all(below(&granted.target)).map_err(at(Step::Root))?;
        }
        grant(granted, &below(&granted.target), owners).map_err(|error| {
            let mut failed = SetupError::new(Step::Grant, &error);
            failed.cause = format!("{}: {}", granted.source.display(), failed.cause);
            failed
        })?;
    }
    mounts::become_root(new).map_err(at(Step::Root))?;
    for granted in call.run.grants.iter().filter(|granted| granted.writable) {
        guard_repository(&granted.target).map_err(at(Step::Grant))?;
    }
    Ok(writable)
}

/// Mounts a granted folder. No link on its path is followed: a program that was granted a folder above could have
/// put one there.
fn grant(granted: &Granted, target: &Path, owners: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let source = granted.source.strip_prefix("/").unwrap_or(&granted.source);
    // Of this namespace: a mount of the zygote's cannot be copied here.
    let host = File::open(tree::OLD)?;
    let folder = mounts::open_plain(host.as_fd(), source)?;
    if !File::from(folder.try_clone()?).metadata()?.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "it is no folder",
        ));
    }
    let mount = mounts::copy(Some(folder.as_fd()), Path::new(""))?;
    let writable = granted.writable || super::writes_everywhere();
    let read_only = if writable { 0 } else { mounts::READ_ONLY };
    let attributes = read_only | mounts::NO_SUID | mounts::NO_DEV;
    mounts::set(mount.as_fd(), attributes, owners)?;
    mounts::attach(mount.as_fd(), target)
}

/// Makes a git repository in a folder read-only, whole: its configuration and hooks name programs, and a new file in it
/// (`commondir`) could name others in their place. As a mount it cannot be renamed either.
fn guard_repository(folder: &Path) -> io::Result<()> {
    let git = folder.join(".git");
    let Ok(found) = fs::symlink_metadata(&git) else {
        return Ok(());
    };
    if found.is_symlink() {
        let message = format!("{} is a symbolic link", git.display());
        return Err(io::Error::other(message));
    }
    let root = File::open("/")?;
    let plain = mounts::open_plain(root.as_fd(), git.strip_prefix("/").unwrap_or(&git))?;
    let mount = mounts::copy(Some(plain.as_fd()), Path::new(""))?;
    let read_only = mounts::READ_ONLY | mounts::NO_SUID | mounts::NO_DEV;
    mounts::set(mount.as_fd(), read_only, None)?;
    mounts::attach(mount.as_fd(), &git)
}
