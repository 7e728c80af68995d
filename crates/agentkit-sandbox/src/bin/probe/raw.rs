//! System calls of attempts.
#![expect(
    unsafe_code,
    reason = "attempts make the system calls that must be refused"
)]

use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    ptr,
};

/// Makes a system call, as a hostile program would.
pub(super) fn call(number: i64, arguments: [i64; 5]) -> io::Result<i64> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: attempts pass numbers, null pointers, or pointers of `Text`s and buffers that outlive the call.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// `getpid` by the 32-bit entry, whose numbers are other calls. The kernel may end the process for it.
#[cfg(target_arch = "x86_64")]
pub(super) fn old_entry() -> i64 {
    let result: i64;
    // SAFETY: call 20 of the 32-bit table takes nothing and changes nothing but the result.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// The address of a text with NUL, or of a buffer.
pub(super) fn address<T: ?Sized>(of: &T) -> i64 {
    ptr::from_ref(of).cast::<u8>() as i64
}

/// Forks. True in the child.
pub(super) fn fork() -> io::Result<bool> {
    // SAFETY: attempts have one thread when they fork.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(true),
        _ => Ok(false),
    }
}

/// Names this process.
pub(super) fn set_name(name: &str) {
    let name = std::ffi::CString::new(name).unwrap_or_default();
    // SAFETY: the name has NUL at its end and outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Begins a session of its own.
pub(super) fn session() {
    // SAFETY: a plain system call.
    unsafe { libc::setsid() };
}

/// Ignores signals that ask for an end.
pub(super) fn ignore_ends() {
    // SAFETY: plain system calls.
    unsafe {
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGXCPU] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Shared memory without a name, written to the end.
pub(super) fn shared(bytes: usize) -> bool {
    // SAFETY: the mapping has the size that is told, and is written within it.
    unsafe {
        let memory = libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if memory == libc::MAP_FAILED {
            return false;
        }
        for offset in (0..bytes).step_by(4096) {
            memory.cast::<u8>().add(offset).write_volatile(1);
        }
    }
    true
}

/// Fills the buffers of this many pairs of sockets.
pub(super) fn fill_sockets(pairs: usize) -> io::Result<Vec<(UnixStream, UnixStream)>> {
    let block = vec![1; 32 << 10];
    let mut kept = Vec::new();
    for _ in 0..pairs {
        let pair = UnixStream::pair()?;
        for mut end in [&pair.0, &pair.1] {
            end.set_nonblocking(true)?;
            while end.write(&block).is_ok_and(|written| written > 0) {}
        }
        kept.push(pair);
    }
    Ok(kept)
}

/// Reads a byte every 2 MiB of so many GiB that were never written: each costs a page of page tables.
pub(super) fn read_far_apart(gibibytes: usize) -> bool {
    let bytes = gibibytes << 30;
    // SAFETY: the mapping has the size that is told, and is read within it.
    unsafe {
        let memory = libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if memory == libc::MAP_FAILED {
            return false;
        }
        libc::madvise(memory, bytes, libc::MADV_NOHUGEPAGE);
        for offset in (0..bytes).step_by(2 << 20) {
            memory.cast::<u8>().add(offset).read_volatile();
        }
    }
    true
}

/// Has the kernel take ended children away, without adding up their time.
pub(super) fn ignore_children() {
    // SAFETY: a plain system call.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Processor time of this process.
pub(super) fn own_time() -> std::time::Duration {
    // SAFETY: zero is valid for both fields, and the structure outlives the call.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        time
    };
    std::time::Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
