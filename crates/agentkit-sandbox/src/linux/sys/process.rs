//! Processes: clones, namespaces, users, capabilities, limits, signals and programs.

use std::{
    ffi::{CStr, CString},
    io,
    mem::zeroed,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
    time::Duration,
};

use super::{check, check_long};

/// Both sides of a clone.
pub(crate) enum Cloned {
    /// In the new process.
    Child,
    /// In the old process, with the id of the new process.
    Parent(i32),
}

/// Makes a process as `fork` does, in new namespaces.
///
/// The caller has one thread, so the copy finds every lock of the process free.
pub(crate) fn clone(namespaces: libc::c_int) -> io::Result<Cloned> {
    let flags = libc::c_ulong::from((namespaces | libc::SIGCHLD) as u32);
    // SAFETY: without CLONE_VM and with no stack given, the child goes on with copies of this process's
    // memory and stack, as after `fork`; the unused arguments are null.
    let pid = check_long(unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            ptr::null_mut::<libc::c_void>(),
            ptr::null_mut::<libc::c_void>(),
            ptr::null_mut::<libc::c_void>(),
            ptr::null_mut::<libc::c_void>(),
        )
    })?;
    Ok(match pid {
        0 => Cloned::Child,
        pid => Cloned::Parent(pid as i32),
    })
}

/// Moves this process into new namespaces.
pub(crate) fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: a plain system call.
    check(unsafe { libc::unshare(namespaces) }).map(drop)
}

/// Ends this process at once, without handlers that are registered for its end.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: the call does not return.
    unsafe { libc::_exit(code) }
}

/// Effective user and group of this process.
pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: plain system calls that cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Becomes another user with one group, for good.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain system calls; no groups are read from the null pointer, as their number is 0. Raw
    // calls change this thread alone, and there is no other.
    unsafe {
        check_long(libc::syscall(
            libc::SYS_setgroups,
            0,
            ptr::null::<libc::gid_t>(),
        ))?;
        check_long(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check_long(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Takes every capability out of the set that programs of this process could regain.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: plain system calls.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if dropped != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // Past the last capability of this kernel.
                Some(libc::EINVAL) if capability > 0 => Ok(()),
                _ => Err(error),
            };
        }
    }
    Ok(())
}

/// Gives up every capability that this process has.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let none = [0_u32; 6];
    // SAFETY: version 3 has two sets of three words, which is the size of the array.
    unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        );
        check_long(libc::syscall(
            libc::SYS_capset,
            &raw const header,
            none.as_ptr(),
        ))?;
    }
    Ok(())
}

/// No program that this process executes gets more rights than it has.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: a plain system call.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// The kernel kills this process when its parent ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: a plain system call.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}

/// A resource whose use the kernel limits for each process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resource {
    /// Size of a written file, in bytes.
    FileSize,
    /// Processor time, in seconds.
    Cpu,
    /// Processes and threads of the user.
    Processes,
    /// Open files.
    OpenFiles,
    /// Size of a core file.
    Core,
    /// Bytes of locked memory.
    Locked,
    /// Bytes of message queues.
    MessageQueues,
}

/// Sets a limit, soft and hard. A lower hard limit of this process stays.
pub(crate) fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let number = match resource {
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Locked => libc::RLIMIT_MEMLOCK,
        Resource::MessageQueues => libc::RLIMIT_MSGQUEUE,
    };
    // SAFETY: the structures outlive the calls.
    unsafe {
        let mut now: libc::rlimit = zeroed();
        check(libc::getrlimit(number, &raw mut now))?;
        let value = value.min(now.rlim_max);
        let limit = libc::rlimit {
            rlim_cur: value,
            rlim_max: value,
        };
        check(libc::setrlimit(number, &raw const limit)).map(drop)
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// The next child that has ended. `None` if no child has ended, or, when waiting, if there are no children.
pub(crate) fn reap(wait: bool) -> Option<(i32, Status)> {
    loop {
        let mut status = 0;
        let flags = libc::__WALL | if wait { 0 } else { libc::WNOHANG };
        // SAFETY: the status outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        match pid {
            0 => return None,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return None,
            pid if libc::WIFEXITED(status) => {
                return Some((pid, Status::Exited(libc::WEXITSTATUS(status))));
            }
            pid if libc::WIFSIGNALED(status) => {
                return Some((pid, Status::Signalled(libc::WTERMSIG(status))));
            }
            // Stopped or gone on: no end.
            _ => {}
        }
    }
}

/// Waits for one child.
pub(crate) fn wait_for(pid: i32) {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Kills a process; -1 is every process that this one sees, but itself.
pub(crate) fn kill(pid: i32) {
    // SAFETY: a plain system call. A process that is gone is as good as killed.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Whether there is a process with this id.
pub(crate) fn exists(pid: i32) -> bool {
    // SAFETY: a plain system call that sends nothing.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Resources used by children that have ended.
pub(crate) struct Used {
    /// Processor time.
    pub(crate) cpu: Duration,
    /// The largest resident set of a single child, in bytes.
    pub(crate) max_rss: u64,
}

/// Resources used by all reaped children and their descendants.
pub(crate) fn used_by_children() -> Used {
    // SAFETY: zero is valid for every field, and the structure outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let time = |value: libc::timeval| {
        Duration::from_secs(u64::try_from(value.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(value.tv_usec).unwrap_or(0))
    };
    Used {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        max_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }
}

/// Clock ticks a second, and bytes of a page.
pub(crate) fn units() -> (u64, u64) {
    // SAFETY: plain calls.
    let (ticks, page) = unsafe {
        (
            libc::sysconf(libc::_SC_CLK_TCK),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    (
        u64::try_from(ticks).unwrap_or(100).max(1),
        u64::try_from(page).unwrap_or(4096),
    )
}

/// Begins a session of its own, without a terminal.
pub(crate) fn new_session() {
    // SAFETY: a plain system call; it fails only for the leader of a session, which is as good.
    unsafe { libc::setsid() };
}

/// Unblocks all signals and stops ignoring SIGPIPE: an ignored signal stays ignored in the new program.
pub(crate) fn reset_signals() {
    // SAFETY: the set is initialised, and the handler is the default one.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Makes `fd` the descriptor with this number, which a program gets.
pub(crate) fn put(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: a plain system call; whatever had the number is closed.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// A copy of a descriptor with a number of at least `from`, which closes on exec.
pub(crate) fn copy_above(fd: BorrowedFd<'_>, from: i32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: a plain system call; the descriptor is new.
    unsafe {
        let copy = check(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, from))?;
        Ok(std::os::fd::OwnedFd::from_raw_fd(copy))
    }
}

/// The descriptors `from` to `to`, if they are open, close when a program is executed.
pub(crate) fn close_on_exec(from: u32, to: u32) -> io::Result<()> {
    // SAFETY: a plain system call that closes nothing yet.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, from, to, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Executes a program in place of this process. Returns only an error.
pub(crate) fn execute(program: &CStr, arguments: &[CString], variables: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        let texts = texts.iter().map(|text| text.as_ptr());
        texts.chain([ptr::null()]).collect()
    };
    let (arguments, variables) = (pointers(arguments), pointers(variables));
    // SAFETY: all strings have NUL at their ends and outlive the call, and both lists end with null.
    unsafe {
        libc::execve(program.as_ptr(), arguments.as_ptr(), variables.as_ptr());
    }
    io::Error::last_os_error()
}
