//! Which system calls a sandboxed program may make.
//!
//! The filter allows calls that it does not name, as programs of all kinds run here, and refuses calls that reach
//! beyond the sandbox: other ABIs of the kernel (their numbers mean other calls, so no rule would hold), io_uring
//! (its operations pass no filter), mounts and namespaces, other processes' memory, keys, kernel interfaces, and
//! sockets other than IP and route queries. `connect` to a path cannot be judged here, as a filter sees no
//! memory: a process gets no Unix socket to connect with, but pairs. Pairs of datagram sockets do not exist either:
//! each of the two sends to any path.

use std::io;

use super::sys::seccomp::{Instruction, install};

/// System calls with a higher number are unknown here, so they do not exist in the sandbox.
const LAST_KNOWN_CALL: u32 = 469;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `seccomp_data`; arguments are read by their lower 32 bits.
const CALL_NUMBER: u32 = 0;
const CALL_ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;

/// The bits of a socket's type that are no flags.
const SOCKET_KIND: u32 = 0xf;

/// `clone` with any of these flags makes a namespace.
const NAMESPACES: u32 = 0x7e02_0080;

/// Calls that are refused with `EPERM`.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_memfd_secret,
    libc::SYS_lookup_dcookie,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

/// `open_tree_attr`, which libc does not name yet.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// Calls that look as if the kernel did not have them, so that programs use others.
const ABSENT: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Its flags lie in memory, which a filter cannot see. C libraries go on with `clone`.
    libc::SYS_clone3,
];

/// Memory that is in no resident set, or not until it is mapped. Without a cgroup that counts it, it does not exist.
const UNCOUNTED_MEMORY: &[libc::c_long] = &[
    libc::SYS_memfd_create,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
];

/// Whether memory is counted by a cgroup, or by looking at resident sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryCount {
    /// A cgroup counts all memory that the kernel keeps for the processes.
    Cgroup,
    /// The sum of resident sets is looked at.
    ResidentSets,
}

fn step(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Ends with `action` if the comparison holds, else goes on.
fn end_if(jump: u16, k: u32, action: u32) -> [Instruction; 2] {
    let mut compare = step(jump, k);
    compare.jf = 1;
    [compare, step(RETURN, action)]
}

fn errno(number: i32) -> u32 {
    0x0005_0000 | (number as u32 & 0xffff)
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("system calls have small numbers")
}

/// For this call the instructions decide; they end in every case.
fn if_call(program: &mut Vec<Instruction>, call: libc::c_long, decide: &[Instruction]) {
    let mut compare = step(JUMP_EQUAL, number(call));
    compare.jf = u8::try_from(decide.len()).expect("a decision is short");
    program.push(compare);
    program.extend_from_slice(decide);
}

/// The filter of sandboxed programs.
pub(crate) fn program(memory: MemoryCount) -> Vec<Instruction> {
    let mut all = vec![step(LOAD, CALL_ARCHITECTURE)];
    let mut other = step(JUMP_EQUAL, ARCHITECTURE);
    other.jt = 1;
    all.extend([other, step(RETURN, KILL)]);
    all.push(step(LOAD, CALL_NUMBER));
    // Also every number of x32, which has the bit 0x4000_0000.
    all.extend(end_if(JUMP_GREATER, LAST_KNOWN_CALL, errno(libc::ENOSYS)));
    for call in ABSENT {
        all.extend(end_if(JUMP_EQUAL, number(*call), errno(libc::ENOSYS)));
    }
    if memory == MemoryCount::ResidentSets {
        for call in UNCOUNTED_MEMORY {
            all.extend(end_if(JUMP_EQUAL, number(*call), errno(libc::ENOSYS)));
        }
    }
    for call in REFUSED {
        all.extend(end_if(JUMP_EQUAL, number(*call), errno(libc::EPERM)));
    }
    let mut decide = vec![step(LOAD, FIRST_ARGUMENT)];
    decide.extend(end_if(JUMP_ANY_BIT, NAMESPACES, errno(libc::EPERM)));
    decide.push(step(RETURN, ALLOW));
    if_call(&mut all, libc::SYS_clone, &decide);

    let mut decide = vec![step(LOAD, FIRST_ARGUMENT)];
    decide.extend(end_if(JUMP_EQUAL, libc::AF_INET as u32, ALLOW));
    decide.extend(end_if(JUMP_EQUAL, libc::AF_INET6 as u32, ALLOW));
    let mut netlink = step(JUMP_EQUAL, libc::AF_NETLINK as u32);
    netlink.jf = 3;
    decide.push(netlink);
    decide.push(step(LOAD, THIRD_ARGUMENT));
    decide.extend(end_if(JUMP_EQUAL, libc::NETLINK_ROUTE as u32, ALLOW));
    decide.push(step(RETURN, errno(libc::EACCES)));
    if_call(&mut all, libc::SYS_socket, &decide);

    // A connected pair has no other end than its own. One of datagrams takes an address with each message.
    let mut decide = vec![step(LOAD, SECOND_ARGUMENT), step(AND, SOCKET_KIND)];
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        decide.extend(end_if(JUMP_EQUAL, kind as u32, ALLOW));
    }
    decide.push(step(RETURN, errno(libc::EACCES)));
    if_call(&mut all, libc::SYS_socketpair, &decide);

    // Bytes that a terminal takes for typed ones.
    let mut decide = vec![step(LOAD, SECOND_ARGUMENT)];
    decide.extend(end_if(JUMP_EQUAL, libc::TIOCSTI as u32, errno(libc::EPERM)));
    decide.extend(end_if(
        JUMP_EQUAL,
        libc::TIOCLINUX as u32,
        errno(libc::EPERM),
    ));
    decide.push(step(RETURN, ALLOW));
    if_call(&mut all, libc::SYS_ioctl, &decide);
    all.push(step(RETURN, ALLOW));
    all
}

/// A filter that refuses a few calls with an error number, as the seccomp filter of a container does.
pub(crate) fn refusing(calls: &[(libc::c_long, i32)], namespaces: Option<u32>) -> Vec<Instruction> {
    let mut all = vec![step(LOAD, CALL_NUMBER)];
    for (call, error) in calls {
        all.extend(end_if(JUMP_EQUAL, number(*call), errno(*error)));
    }
    if let Some(kinds) = namespaces {
        for call in [libc::SYS_clone, libc::SYS_unshare] {
            let mut decide = vec![step(LOAD, FIRST_ARGUMENT), step(AND, kinds)];
            decide.extend(end_if(JUMP_ANY_BIT, kinds, errno(libc::EPERM)));
            decide.push(step(RETURN, ALLOW));
            if_call(&mut all, call, &decide);
        }
    }
    all.push(step(RETURN, ALLOW));
    all
}

/// Holds this process to a filter.
pub(crate) fn apply(program: &[Instruction]) -> io::Result<()> {
    install(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter says of a call, as the kernel would.
    fn judge(program: &[Instruction], architecture: u32, call: u32, arguments: [u32; 3]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => {
                    value = match k {
                        CALL_NUMBER => call,
                        CALL_ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => arguments[0],
                        SECOND_ARGUMENT => arguments[1],
                        THIRD_ARGUMENT => arguments[2],
                        other => panic!("loads {other}"),
                    }
                }
                AND => value &= k,
                JUMP_EQUAL => at += jump(value == k),
                JUMP_GREATER => at += jump(value > k),
                JUMP_ANY_BIT => at += jump(value & k != 0),
                RETURN => return k,
                other => panic!("does {other}"),
            }
        }
    }

    #[test]
    fn calls_that_reach_beyond_the_sandbox_are_refused() {
        let program = program(MemoryCount::Cgroup);
        let says =
            |call: libc::c_long, arguments| judge(&program, ARCHITECTURE, number(call), arguments);
        for (call, arguments, expected) in [
            (libc::SYS_read, [0; 3], ALLOW),
            (libc::SYS_execve, [0; 3], ALLOW),
            (libc::SYS_memfd_create, [0; 3], ALLOW),
            (libc::SYS_mount, [0; 3], errno(libc::EPERM)),
            (libc::SYS_ptrace, [0; 3], errno(libc::EPERM)),
            (libc::SYS_keyctl, [0; 3], errno(libc::EPERM)),
            (libc::SYS_io_uring_setup, [0; 3], errno(libc::ENOSYS)),
            (libc::SYS_clone3, [0; 3], errno(libc::ENOSYS)),
            (libc::SYS_clone, [libc::SIGCHLD as u32, 0, 0], ALLOW),
            (
                libc::SYS_clone,
                [libc::CLONE_NEWUSER as u32, 0, 0],
                errno(libc::EPERM),
            ),
            (
                libc::SYS_clone,
                [libc::CLONE_NEWNS as u32, 0, 0],
                errno(libc::EPERM),
            ),
            (libc::SYS_clone, [libc::CLONE_VM as u32, 0, 0], ALLOW),
            (libc::SYS_socket, [libc::AF_INET as u32, 1, 0], ALLOW),
            (libc::SYS_socket, [libc::AF_INET6 as u32, 2, 0], ALLOW),
            (
                libc::SYS_socket,
                [libc::AF_UNIX as u32, 1, 0],
                errno(libc::EACCES),
            ),
            (
                libc::SYS_socket,
                [libc::AF_PACKET as u32, 3, 0],
                errno(libc::EACCES),
            ),
            (
                libc::SYS_socket,
                [libc::AF_VSOCK as u32, 1, 0],
                errno(libc::EACCES),
            ),
            (
                libc::SYS_socket,
                [libc::AF_ALG as u32, 5, 0],
                errno(libc::EACCES),
            ),
            (libc::SYS_socket, [libc::AF_NETLINK as u32, 3, 0], ALLOW),
            (
                libc::SYS_socket,
                [libc::AF_NETLINK as u32, 3, 9],
                errno(libc::EACCES),
            ),
            (
                libc::SYS_socketpair,
                [1, libc::SOCK_STREAM as u32, 0],
                ALLOW,
            ),
            (
                libc::SYS_socketpair,
                [1, (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as u32, 0],
                ALLOW,
            ),
            (
                libc::SYS_socketpair,
                [1, (libc::SOCK_DGRAM | libc::SOCK_NONBLOCK) as u32, 0],
                errno(libc::EACCES),
            ),
            (
                libc::SYS_ioctl,
                [0, libc::TIOCSTI as u32, 0],
                errno(libc::EPERM),
            ),
            (libc::SYS_ioctl, [0, libc::TIOCGWINSZ as u32, 0], ALLOW),
        ] {
            assert_eq!(says(call, arguments), expected, "call {call} {arguments:?}");
        }
        let last = libc::c_long::from(LAST_KNOWN_CALL);
        assert_eq!(says(last + 1, [0; 3]), errno(libc::ENOSYS));
        // x32, and 32-bit calls by `int 0x80`.
        assert_eq!(says(0x4000_0001, [0; 3]), errno(libc::ENOSYS));
        assert_eq!(judge(&program, 0x4000_0003, 11, [0; 3]), KILL);
    }

    #[test]
    fn memory_that_no_resident_set_shows_needs_a_cgroup() {
        let program = program(MemoryCount::ResidentSets);
        for call in UNCOUNTED_MEMORY {
            assert_eq!(
                judge(&program, ARCHITECTURE, number(*call), [0; 3]),
                errno(libc::ENOSYS)
            );
        }
    }
}
