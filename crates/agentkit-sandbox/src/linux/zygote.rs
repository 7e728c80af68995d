//! The helper process, whose single thread allows namespaces and copies of the process.
//!
//! The process is this program, executed anew, with a socket to the host as its standard input. The process takes the
//! host's requests in order, makes the first process of a sandbox for each, and waits for the next. When the
//! host is gone it kills every sandbox and ends.

mod init;
mod payload;
mod tree;
mod watch;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use self::tree::Tree;
use super::{
    cgroups::Cgroups,
    filter::{self, MemoryCount},
    sys::{
        landlock,
        process::{self, Cloned},
        seccomp::Instruction,
        sockets,
    },
    wire::{Granted, Hello, Limits, MAX_MESSAGE, Program, Run, Start, Status},
};
use crate::report::{Holder, Report, SetupError, Step, UserTier};

/// State that every call needs.
struct Zygote {
    tree: Tree,
    tier: UserTier,
    cgroups: Cgroups,
    landlock: Option<u32>,
    filter: Vec<Instruction>,
    memory: MemoryCount,
    /// User id of slot 0 of the tier [`UserTier::OwnUser`].
    first_uid: u32,
    /// Readable when a child has ended.
    signals: OwnedFd,
    control: OwnedFd,
    /// First processes of sandboxes, by slot.
    running: HashMap<u32, i32>,
}

/// The work of the helper process, which ends with the host.
pub(crate) fn run() -> i32 {
    let Ok(control) = take_control() else {
        return 1;
    };
    process::new_session();
    match serve(control) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// The socket, away from the number of standard input.
fn take_control() -> io::Result<OwnedFd> {
    let control = process::copy_above(io::stdin().as_fd(), 10)?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    process::put(nothing.as_fd(), 0)?;
    process::put(nothing.as_fd(), 1)?;
    process::close_on_exec(3, u32::MAX)?;
    Ok(control)
}

fn serve(control: OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let start: Start = match receive(control.as_fd(), &mut buffer, &mut Vec::new())? {
        Some(start) => start,
        None => return Ok(()),
    };
    let answer_to = control.try_clone()?;
    let (mut zygote, hello) = match Zygote::set_up(&start, control) {
        Ok(mut zygote) => {
            let tried = zygote.try_out();
            let report = zygote.report();
            (Some(zygote), tried.map(|()| report))
        }
        Err(error) => (None, Err(error)),
    };
    let hello = match hello {
        Ok(report) => Hello::Ready(report),
        Err(error) => Hello::Failed(error),
    };
    let failed = matches!(hello, Hello::Failed(_));
    send(answer_to.as_fd(), &hello, &[])?;
    drop(answer_to);
    let Some(zygote) = &mut zygote else {
        return Ok(());
    };
    if !failed {
        zygote.serve(&mut buffer)?;
    }
    zygote.end();
    Ok(())
}

/// One message; `None` if the other side is closed.
pub(super) fn receive<T: serde::de::DeserializeOwned>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<Option<T>> {
    match sockets::receive(socket, buffer, fds, true)? {
        0 => Ok(None),
        length => Ok(Some(serde_json::from_slice(&buffer[..length])?)),
    }
}

/// Sends one message.
pub(super) fn send<T: serde::Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    sockets::send(socket, &serde_json::to_vec(message)?, fds)
}

impl Zygote {
    fn set_up(start: &Start, control: OwnedFd) -> Result<Self, SetupError> {
        let at = |step| move |error: io::Error| SetupError::new(step, &error);
        let signals = sockets::child_signals().map_err(at(Step::Helper))?;
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let server = i32::try_from(std::os::unix::process::parent_id()).unwrap_or(0);
        let (uid, gid) = process::ids();
        let tier = match uid {
            0 => UserTier::OwnUser,
            _ => UserTier::UserNamespace,
        };
        let mut cgroups = match start.without_cgroups {
            true => Cgroups::default(),
            false => Cgroups::find(Path::new("/"), pid, server),
        };
        // Without root's rights nobody can tell whose groups these are.
        if tier == UserTier::UserNamespace {
            map_user(uid, gid).map_err(at(Step::UserNamespace))?;
        }
        process::unshare(libc::CLONE_NEWNS).map_err(at(Step::MountNamespace))?;
        // Empty, and shared by all calls without network: making one costs as much as a whole call.
        let unshared = process::unshare(libc::CLONE_NEWNET).map_err(at(Step::NetworkNamespace));
        if !units::mutant!("agentkit-sandbox.keeps_the_network") {
            unshared?;
        }
        let first_uid = 1_900_000_000 + (std::process::id() % 100_000) * 256;
        let uids = match tier {
            UserTier::OwnUser => first_uid..first_uid + start.slots,
            UserTier::UserNamespace => uid..uid + 1,
        };
        let tree = Tree::make(uids).map_err(at(Step::Root))?;
        cgroups.seen_below(Path::new(tree::OLD));
        let memory = match cgroups.memory() {
            Holder::CgroupV1 | Holder::CgroupV2 => MemoryCount::Cgroup,
            Holder::Watch | Holder::Rlimit => MemoryCount::ResidentSets,
        };
        Ok(Self {
            tree,
            tier,
            landlock: landlock::version()
                .ok()
                .filter(|version| *version > 0)
                .filter(|_| !writes_everywhere()),
            filter: filter::program(memory),
            memory,
            cgroups,
            first_uid,
            signals,
            control,
            running: HashMap::new(),
        })
    }

    fn report(&self) -> Report {
        let mut notes = self.cgroups.notes.clone();
        if self.landlock.is_none() {
            notes.push(
                "without landlock the mount namespace alone keeps files apart: use a kernel of 5.13 or newer \
                 with `landlock` in its list of lsm"
                    .to_owned(),
            );
        }
        if self.cgroups.memory() == Holder::Watch {
            notes.push(
                "memory can pass its limit for 20 ms; a cgroup that this process may write to would hold it"
                    .to_owned(),
            );
        }
        Report {
            user: self.tier,
            landlock: self.landlock,
            memory: self.cgroups.memory(),
            processes: self.cgroups.processes(),
            notes,
        }
    }

    /// Makes one sandbox without a program: every step of the set-up is tried before the first call.
    fn try_out(&mut self) -> Result<(), SetupError> {
        let helper = |error: io::Error| SetupError::new(Step::Helper, &error);
        let (ours, theirs) = sockets::pair().map_err(helper)?;
        let nothing = || File::options().read(true).write(true).open("/old/dev/null");
        let mut fds = vec![
            nothing().map_err(helper)?.into(),
            nothing().map_err(helper)?.into(),
            nothing().map_err(helper)?.into(),
            theirs,
        ];
        let trial = Run {
            slot: 0,
            program: Program::Trial,
            folder: "/tmp".into(),
            grants: Vec::<Granted>::new(),
            proxy: false,
            limits: Limits {
                wall_ms: 5_000,
                cpu_ms: 5_000,
                memory: 64 << 20,
                processes: 8,
                file_bytes: 1 << 20,
                disk_bytes: u64::MAX,
                disk_files: u64::MAX,
            },
        };
        self.start(trial, &mut fds)?;
        drop(fds);
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            match receive(ours.as_fd(), &mut buffer, &mut Vec::new()).map_err(helper)? {
                Some(Status::Ended { .. }) => return Ok(()),
                Some(Status::Failed(error)) => return Err(error),
                Some(Status::Listening) => {}
                None => {
                    let error = io::Error::other("the trial ended without a word");
                    return Err(helper(error));
                }
            }
        }
    }

    /// Takes requests until the host closes its end.
    fn serve(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let [control, signals] =
                sockets::poll(self.control.as_fd(), self.signals.as_fd(), None)?;
            if signals.readable {
                sockets::drain_signals(self.signals.as_fd());
                while let Some((pid, _)) = process::reap(false) {
                    self.running.retain(|_, running| *running != pid);
                }
            }
            if !control.readable {
                if control.closed {
                    return Ok(());
                }
                continue;
            }
            let mut fds = Vec::new();
            let Some(run) = receive(self.control.as_fd(), buffer, &mut fds)? else {
                return Ok(());
            };
            let status = fds.get(3).and_then(|fd: &OwnedFd| fd.try_clone().ok());
            if let (Err(error), Some(status)) = (self.start(run, &mut fds), status) {
                // A host that is no longer there wants no answer.
                let _ = send(status.as_fd(), &Status::Failed(error), &[]);
            }
        }
    }

    /// Makes the first process of a sandbox. `fds` are standard input, output and error, and the status socket.
    fn start(&mut self, mut run: Run, fds: &mut Vec<OwnedFd>) -> Result<(), SetupError> {
        let at = |step| move |error: io::Error| SetupError::new(step, &error);
        // A slot is used again once its last call is over to the end.
        if let Some(pid) = self.running.remove(&run.slot) {
            process::kill(pid);
            process::wait_for(pid);
        }
        if fds.len() != 4 {
            let error = io::Error::other("a call needs four descriptors");
            return Err(SetupError::new(Step::Helper, &error));
        }
        let status = fds.remove(3);
        for granted in &mut run.grants {
            granted.target = Tree::plain(&granted.target);
            self.tree
                .mount_point(&granted.target)
                .map_err(at(Step::Root))?;
        }
        let owners = match self.tier {
            UserTier::OwnUser => {
                let uid = self.first_uid + run.slot;
                Some((
                    uid,
                    self.tree.owners(run.slot, uid).map_err(at(Step::User))?,
                ))
            }
            UserTier::UserNamespace => None,
        };
        let membership = self
            .cgroups
            .prepare(run.slot, run.limits.memory, run.limits.processes)
            .map_err(at(Step::Cgroup))?;
        let mut namespaces =
            libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        if run.proxy {
            namespaces |= libc::CLONE_NEWNET;
        }
        let slot = run.slot;
        match process::clone(namespaces).map_err(at(Step::Namespaces))? {
            Cloned::Parent(pid) => {
                self.running.insert(slot, pid);
                Ok(())
            }
            Cloned::Child => {
                let call = init::Call {
                    run,
                    status,
                    standard: std::mem::take(fds),
                    owners,
                    membership,
                };
                init::main(self, call)
            }
        }
    }

    /// In a child: gives up the socket to the host, so that the host notices when the zygote is gone.
    fn forget_control(&self) -> io::Result<()> {
        let nothing = File::open("/old/dev/null")?;
        process::put(nothing.as_fd(), self.control.as_raw_fd())
    }

    /// Kills the sandboxes that still run.
    fn end(&mut self) {
        for (_, pid) in self.running.drain() {
            process::kill(pid);
            process::wait_for(pid);
        }
        self.cgroups.remove();
    }
}

/// Only a mutant lets programs write wherever they can read: the test of P8 has to notice.
fn writes_everywhere() -> bool {
    units::mutant!("agentkit-sandbox.writes_everywhere")
}

/// Moves this process into a user namespace in which it is the user that it was.
fn map_user(uid: u32, gid: u32) -> io::Result<()> {
    process::unshare(libc::CLONE_NEWUSER)?;
    let itself = File::open("/proc/self")?;
    write_maps(&itself, uid, gid)
}

/// Maps a user and a group to themselves in the user namespace of the process whose folder of `/proc` this is.
pub(super) fn write_maps(folder: &File, uid: u32, gid: u32) -> io::Result<()> {
    let write = |name: &str, text: String| -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        File::options()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes())
            .map_err(|error| io::Error::new(error.kind(), format!("writing {name}: {error}")))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}
