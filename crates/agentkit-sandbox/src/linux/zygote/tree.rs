//! The folder tree that programs see: system folders to read, a few devices, and the granted folders.
//!
//! The tree is made once. Each call copies the zygote's mounts, mounts its own `/proc`, `/tmp` and granted folders
//! on top, and makes the tree its root.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    fs::{self, File},
    io,
    ops::Range,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, symlink},
    },
    path::{Component, Path, PathBuf},
};

use crate::linux::sys::{mounts, process, sockets};

/// Where the zygote sees the host's files.
pub(super) const OLD: &str = "/old";
/// The tree as programs see it.
pub(super) const NEW: &str = "/new";
/// The same file system, to make mount points in.
const BASE: &str = "/base";

/// System folders that a program may read, if they are there.
const SYSTEM: &[&str] = &[
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "nix/store",
    "gnu/store",
];
/// Folders and files of `/etc` that programs need to find libraries, certificates and the time zone. Small files are
/// copied; each mount costs every call.
const CONFIGURATION: &[&str] = &[
    "ld.so.cache",
    "nsswitch.conf",
    "localtime",
    "timezone",
    "mime.types",
    "protocols",
    "services",
    "gai.conf",
    "os-release",
    "debian_version",
];
const CONFIGURATION_FOLDERS: &[&str] = &[
    "alternatives",
    "ssl",
    "pki",
    "ca-certificates",
    "crypto-policies",
    "fonts",
];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
const MAX_COPIED: u64 = 1 << 20;

/// The tree, with its mount points and user namespaces.
pub(super) struct Tree {
    points: HashSet<PathBuf>,
    /// User namespaces that map root to the user of a slot.
    owners: HashMap<u32, OwnedFd>,
}

impl Tree {
    /// Makes the tree and the zygote's own root, which has the host's files below [`OLD`].
    pub(super) fn make(uids: Range<u32>) -> io::Result<Self> {
        #[cfg(feature = "wasm")]
        let own = fs::read_link("/proc/self/exe");
        mounts::make_private()?;
        // Any folder that is always there will do: the new mount becomes the root, and uncovers it again.
        let stage = Path::new("/tmp");
        mounts::file_system("tmpfs", stage, libc::MS_NOSUID | libc::MS_NODEV, "mode=755")?;
        fs::create_dir(stage.join("old"))?;
        mounts::become_root_beside(stage, &stage.join("old"))?;
        for folder in [BASE, NEW] {
            fs::create_dir(folder)?;
        }
        mounts::file_system("tmpfs", Path::new(BASE), libc::MS_NOSUID, "mode=755")?;
        fill(uids)?;
        let seen = mounts::copy(None, Path::new(BASE))?;
        mounts::attach(seen.as_fd(), Path::new(NEW))?;
        for name in SYSTEM {
            system_folder(name)?;
        }
        for name in CONFIGURATION_FOLDERS {
            let path = Path::new("etc").join(name);
            if Path::new(OLD).join(&path).is_dir() {
                bind(&path)?;
            }
        }
        for name in DEVICES {
            let path = Path::new("dev").join(name);
            File::create(Path::new(BASE).join(&path))?;
            bind(&path)?;
        }
        #[cfg(feature = "wasm")]
        if let Ok(own) = own {
            own_program(&own);
        }
        mounts::set(seen.as_fd(), mounts::READ_ONLY | mounts::NO_SUID, None)?;
        Ok(Self {
            points: HashSet::new(),
            owners: HashMap::new(),
        })
    }

    /// Makes the folder that a granted folder is mounted on.
    ///
    /// The folder stays, empty, for later calls: a call sees the names, not the files, of other calls' grants.
    pub(super) fn mount_point(&mut self, target: &Path) -> io::Result<()> {
        if self.points.contains(target) {
            return Ok(());
        }
        let mut folder = PathBuf::from(BASE);
        for part in target.components() {
            match part {
                Component::RootDir => {}
                Component::Normal(name) => {
                    folder.push(name);
                    // What lies in a system folder has that folder's mount on top of it.
                    match fs::create_dir(&folder) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
                Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::Error::other("a granted folder has no plain path"));
                }
            }
        }
        self.points.insert(target.to_owned());
        Ok(())
    }

    /// The path without the links of the tree: `/var/tmp/a` is `/tmp/a` there, and `/lib/a` may be `/usr/lib/a`.
    pub(super) fn plain(target: &Path) -> PathBuf {
        let mut plain = target.to_owned();
        // Only the zygote makes links there, and none in a circle.
        for _ in 0..8 {
            let below = |path: &Path| Path::new(BASE).join(path.strip_prefix("/").unwrap_or(path));
            let parts: Vec<&Path> = plain.ancestors().collect();
            let link = parts.iter().rev().find_map(|part| {
                let leads = fs::read_link(below(part)).ok()?;
                let rest = plain.strip_prefix(part).ok()?;
                let folder = part.parent().unwrap_or(Path::new("/"));
                Some(folder.join(leads).join(rest))
            });
            match link {
                Some(next) => plain = next,
                None => break,
            }
        }
        plain
    }

    /// The user namespace that shows root's files as files of a slot's user.
    pub(super) fn owners(&mut self, slot: u32, uid: u32) -> io::Result<OwnedFd> {
        if let Some(fd) = self.owners.get(&slot) {
            return fd.try_clone();
        }
        let fd = mapped(uid)?;
        let copy = fd.try_clone()?;
        self.owners.insert(slot, fd);
        Ok(copy)
    }
}

/// All files and folders of the tree that are no mount.
fn fill(uids: Range<u32>) -> io::Result<()> {
    let base = Path::new(BASE);
    for folder in [
        "etc",
        "dev",
        "proc",
        "tmp",
        "var",
        "run",
        "root",
        "home",
        "workspace",
        "tool",
    ] {
        fs::DirBuilder::new()
            .mode(0o755)
            .create(base.join(folder))?;
    }
    symlink("/tmp", base.join("var/tmp"))?;
    symlink("/tmp", base.join("dev/shm"))?;
    symlink("/proc/self/fd", base.join("dev/fd"))?;
    for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
        symlink(
            format!("/proc/self/fd/{number}"),
            base.join("dev").join(name),
        )?;
    }
    let etc = base.join("etc");
    for name in CONFIGURATION {
        let source = Path::new(OLD).join("etc").join(name);
        // Links lead to where they would on the host, so that they are followed by hand.
        if let Some(text) = small_file(&source) {
            fs::write(etc.join(name), text)?;
        }
    }
    let (mut users, mut groups) = (
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n".to_owned(),
        "root:x:0:\nnogroup:x:65534:\n".to_owned(),
    );
    for uid in uids.filter(|uid| *uid != 0 && *uid != 65_534) {
        let _ = writeln!(users, "tool{uid}:x:{uid}:{uid}:tool:/tmp:/bin/sh");
        let _ = writeln!(groups, "tool{uid}:x:{uid}:");
    }
    fs::write(etc.join("passwd"), users)?;
    fs::write(etc.join("group"), groups)?;
    fs::write(etc.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
    fs::write(etc.join("hostname"), "sandbox\n")
}

/// A file of the host that may be a link, also to an absolute path of the host.
fn small_file(path: &Path) -> Option<Vec<u8>> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        match fs::read_link(&path) {
            Ok(target) if target.is_absolute() => {
                path = Path::new(OLD).join(target.strip_prefix("/").ok()?);
            }
            Ok(target) => path = path.parent()?.join(target),
            Err(_) => break,
        }
    }
    let size = fs::metadata(&path).ok()?.len();
    (size <= MAX_COPIED).then(|| fs::read(&path).ok()).flatten()
}

/// A folder below the root: the same link, or a mount of it.
fn system_folder(name: &str) -> io::Result<()> {
    let source = Path::new(OLD).join(name);
    let Ok(kind) = fs::symlink_metadata(&source) else {
        return Ok(());
    };
    if kind.is_symlink() {
        return symlink(fs::read_link(&source)?, Path::new(BASE).join(name));
    }
    bind(Path::new(name))
}

/// Shows sandboxes the program of this process, as their runtime of WebAssembly. Without the file on the disk, calls of
/// the runtime cannot be started, and all others can.
#[cfg(feature = "wasm")]
fn own_program(own: &Path) {
    let show = || -> io::Result<()> {
        let place = Path::new(crate::wasm::PROGRAM);
        let place = place.strip_prefix("/").unwrap_or(place);
        let source = Path::new(OLD).join(own.strip_prefix("/").unwrap_or(own));
        let mount = mounts::copy(None, &source)?;
        File::create(Path::new(BASE).join(place))?;
        mounts::attach(mount.as_fd(), &Path::new(NEW).join(place))
    };
    let _ = show();
}

/// Mounts a path of the host at the same path of the tree.
fn bind(path: &Path) -> io::Result<()> {
    let source = Path::new(OLD).join(path);
    if source.is_dir() {
        fs::create_dir_all(Path::new(BASE).join(path))?;
    }
    let mount = mounts::copy(None, &source)?;
    mounts::attach(mount.as_fd(), &Path::new(NEW).join(path))
}

/// A user namespace in which root is this user outside.
fn mapped(uid: u32) -> io::Result<OwnedFd> {
    let (ours, theirs) = sockets::pair()?;
    let made = match process::clone(libc::CLONE_NEWUSER)? {
        process::Cloned::Child => {
            drop(ours);
            // Until the parent has what it wants.
            let mut byte = [0];
            let _ = sockets::receive(theirs.as_fd(), &mut byte, &mut Vec::new(), true);
            process::exit(0);
        }
        process::Cloned::Parent(pid) => pid,
    };
    drop(theirs);
    let folder = PathBuf::from(format!("{OLD}/proc/{made}"));
    let open = || -> io::Result<OwnedFd> {
        for map in ["uid_map", "gid_map"] {
            fs::write(folder.join(map), format!("0 {uid} 1"))?;
        }
        Ok(File::open(folder.join("ns/user"))?.into())
    };
    let opened = open();
    drop(ours);
    process::wait_for(made);
    opened
}
