//! Installs filters of system calls.

use std::io;

use super::check_long;

/// One instruction of a filter, as the kernel takes it.
pub(crate) type Instruction = libc::sock_filter;

/// Holds this process and all that follow to a filter, for good. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
pub(crate) fn install(filter: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(filter.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the filter is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to as many instructions as it says, which the kernel copies and checks.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0_u32,
            &raw const program,
        )
    })
    .map(drop)
}
