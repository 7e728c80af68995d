//! Mounts, by old and new system calls.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

use super::{check, check_long};

/// Attribute of a read-only mount.
pub(crate) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Attribute of a mount that ignores set-user-id bits.
pub(crate) const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// Attribute of a mount that ignores device nodes.
pub(crate) const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path contains NUL"))
}

/// Mounts a new file system.
pub(crate) fn file_system(
    kind: &str,
    target: &Path,
    flags: libc::c_ulong,
    options: &str,
) -> io::Result<()> {
    let name = CString::new(kind)?;
    let options = CString::new(options)?;
    let target = c_path(target)?;
    // SAFETY: every pointer is a string with NUL that outlives the call.
    check(unsafe {
        libc::mount(
            name.as_ptr(),
            target.as_ptr(),
            name.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// Keeps the mounts of this namespace to itself.
pub(crate) fn make_private() -> io::Result<()> {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the target is a string with NUL; the other pointers may be null for this change.
    check(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) })
        .map(drop)
}

/// Makes a mount of `/proc` read-only where it is; copies of it stay as they are.
pub(crate) fn remount_read_only(target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    let flags = libc::MS_REMOUNT
        | libc::MS_BIND
        | libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC;
    // SAFETY: the target is a string with NUL; the other pointers may be null for this change.
    check(unsafe {
        libc::mount(
            ptr::null(),
            target.as_ptr(),
            ptr::null(),
            flags,
            ptr::null(),
        )
    })
    .map(drop)
}

/// Bytes that the files of a file system take.
pub(crate) fn used_bytes(path: &Path) -> io::Result<u64> {
    let path = c_path(path)?;
    // SAFETY: zero is valid for every field, and path and structure outlive the call.
    let found = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        check(libc::statvfs(path.as_ptr(), &raw mut found))?;
        found
    };
    Ok((found.f_blocks - found.f_bfree) * found.f_frsize)
}

/// A detached copy of the mount at a path and all below it.
pub(crate) fn copy(dir: Option<BorrowedFd<'_>>, path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = libc::OPEN_TREE_CLONE as libc::c_long
        | libc::OPEN_TREE_CLOEXEC as libc::c_long
        | libc::AT_RECURSIVE as libc::c_long
        | libc::AT_EMPTY_PATH as libc::c_long;
    // SAFETY: the path is a string with NUL that outlives the call; the descriptor is new.
    unsafe {
        let fd = check_long(libc::syscall(
            libc::SYS_open_tree,
            dir.map_or(libc::AT_FDCWD, |dir| dir.as_raw_fd()),
            path.as_ptr(),
            flags,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Attaches a detached mount at a path.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: both paths are strings with NUL that outlive the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Sets attributes of a mount and of all below it. With a user namespace, the mount shows the owners of its
/// files as that namespace maps them.
pub(crate) fn set(
    mount: BorrowedFd<'_>,
    attributes: u64,
    owners: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let change = libc::mount_attr {
        attr_set: attributes
            | if owners.is_some() {
                libc::MOUNT_ATTR_IDMAP
            } else {
                0
            },
        attr_clr: 0,
        propagation: 0,
        userns_fd: owners.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the change has the size that is told and outlives the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Makes a mount at `path` the root of this mount namespace, with the old root on top of it, which is then
/// taken away.
pub(crate) fn become_root(path: &Path) -> io::Result<()> {
    std::env::set_current_dir(path)?;
    pivot(c".", c".")?;
    detach(Path::new("."))?;
    std::env::set_current_dir("/")
}

/// Makes a mount at `path` the root of this mount namespace; the old root is then at `old` below it.
pub(crate) fn become_root_beside(path: &Path, old: &Path) -> io::Result<()> {
    pivot(&c_path(path)?, &c_path(old)?)?;
    std::env::set_current_dir("/")
}

fn pivot(new: &std::ffi::CStr, old: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: both are strings with NUL that outlive the call.
    check_long(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) }).map(drop)
}

/// Takes a mount and all below it away.
fn detach(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a string with NUL that outlives the call.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Opens a path below a folder without following any symbolic link; the descriptor only names it.
pub(crate) fn open_plain(dir: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: zero is valid for every field.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_IN_ROOT;
    // SAFETY: path and `how` outlive the call, whose last argument is the size of `how`; the descriptor
    // is new.
    unsafe {
        let fd = check_long(libc::syscall(
            libc::SYS_openat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}
