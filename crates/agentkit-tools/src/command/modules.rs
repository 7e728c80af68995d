//! Compiled modules, kept in a folder by the digest of what they were made of.
//!
//! Each is a folder with the code and the digest of the code. A call of the sandbox compiles, with limits of its own;
//! the host writes what came out of that call, and never loads any of it. The folder that a call runs from is shown to it
//! read-only, with the digest beside it, so that bytes that changed on the disk are not run.

use std::{
    collections::HashMap,
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use agentkit::event::Failure;
use agentkit_sandbox::{Call, Ended, Error, Limit, Limits, Sandbox, wasm};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::wasm::{compiling, invalid};

/// The most bytes of a module.
const MAX_MODULE: u64 = 64 << 20;
/// The most modules that are kept, and their bytes together.
const MAX_MODULES: usize = 64;
const MAX_MODULES_BYTES: u64 = 1 << 30;
/// The most mistakes that are remembered.
const MAX_MISTAKES: usize = 64;
/// The longest that compiling may take.
const MAX_COMPILING: Duration = Duration::from_secs(120);
/// The limits of compiling.
const LIMITS: Limits = Limits {
    wall: MAX_COMPILING,
    cpu: Duration::from_secs(240),
    memory: 2 << 30,
    processes: 16,
    output: 256 << 20,
    file: 1 << 20,
    disk: 1 << 20,
    files: 100,
};

/// The compiled modules of a server. Servers may share the folder.
#[derive(Debug)]
pub struct Modules {
    folder: PathBuf,
    /// One module is compiled at a time.
    compiling: tokio::sync::Mutex<()>,
    /// Modules that could not be compiled, and why: each call of such a tool would compile again.
    mistakes: Mutex<HashMap<String, Failure>>,
    compiled: AtomicU64,
    forgotten: AtomicU64,
}

/// A compiled module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// SHA-256 of the code, in hex.
    pub(super) digest: String,
    key: String,
}

impl Modules {
    /// Name of the file with the code.
    pub(super) const CODE: &str = "module.cwasm";
    const DIGEST: &str = "digest";

    /// Modules that are kept in a folder, which is made when it is needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            compiling: tokio::sync::Mutex::default(),
            mistakes: Mutex::default(),
            compiled: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// How many modules were compiled, and how many were forgotten since their code had changed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let counts = [&self.compiled, &self.forgotten].map(|count| count.load(Ordering::Relaxed));
        (counts[0], counts[1])
    }

    /// The compiled module of a file. Compiling goes on where the call that began it is over: the next call finds it.
    pub(super) async fn compiled(
        self: &Arc<Self>,
        sandbox: &Sandbox,
        file: &Path,
        with_fuel: bool,
    ) -> Result<Compiled, Failure> {
        let path = file.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let bytes = read(&path)?;
            let key = key(&bytes, with_fuel);
            Ok::<_, io::Error>((bytes, key))
        });
        let read = read.await.map_err(|_| invalid("it was not read"))?;
        let (module, key) =
            read.map_err(|error| invalid(format!("{}: {error}", file.display())))?;
        if let Some(found) = self.find(&key) {
            return Ok(found);
        }
        let (modules, sandbox) = (Arc::clone(self), sandbox.clone());
        let made =
            tokio::spawn(async move { modules.make(&sandbox, module, key, with_fuel).await });
        let broken_off = || Failure::passing("cancelled", "the module was not compiled");
        made.await.unwrap_or_else(|_| Err(broken_off()))
    }

    async fn make(
        &self,
        sandbox: &Sandbox,
        module: Vec<u8>,
        key: String,
        with_fuel: bool,
    ) -> Result<Compiled, Failure> {
        let _one = self.compiling.lock().await;
        // Another call may have compiled it meanwhile.
        if let Some(found) = self.find(&key) {
            return Ok(found);
        }
        let known = self.mistakes().get(&key).cloned();
        if let Some(mistake) = known {
            return Err(mistake);
        }
        let code = compile(sandbox, module, with_fuel).await;
        let code = code.inspect_err(|failure| {
            if !failure.retryable {
                let mut mistakes = self.mistakes();
                if mistakes.len() >= MAX_MISTAKES {
                    mistakes.clear();
                }
                mistakes.insert(key.clone(), failure.clone());
            }
        })?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let (folder, name) = (self.folder.clone(), key.clone());
        let kept = tokio::task::spawn_blocking(move || {
            keep(&folder, &name, &code)?;
            evict(&folder, &name)
        });
        let kept = kept
            .await
            .unwrap_or_else(|_| Err(io::Error::other("it was broken off")));
        let not_kept = |why: &dyn std::fmt::Display| {
            let message = format!("the compiled module cannot be kept: {why}");
            Failure::passing("module_not_kept", message)
        };
        kept.map_err(|error| not_kept(&error))?;
        self.find(&key).ok_or_else(|| not_kept(&"it is gone again"))
    }

    /// Forgets a module whose code is not what it was.
    pub(super) fn forget(&self, compiled: &Compiled) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        let _ = fs::remove_dir_all(self.folder.join(&compiled.key));
    }

    fn mistakes(&self) -> std::sync::MutexGuard<'_, HashMap<String, Failure>> {
        self.mistakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &str) -> Option<Compiled> {
        let folder = self.folder.canonicalize().ok()?.join(key);
        let mut digest = String::new();
        let path = folder.join(Self::DIGEST);
        let file = fs::File::open(path).ok()?;
        (&file).take(65).read_to_string(&mut digest).ok()?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_digest || !folder.join(Self::CODE).is_file() {
            return None;
        }
        touch(&file);
        Some(Compiled {
            folder,
            digest,
            key: key.to_owned(),
        })
    }
}

/// Marks a kept module as used just now: the module that was used last stays longest. A file system without
/// times loses another module.
fn touch(file: &fs::File) {
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with times of files only, which the system's clock gives"
    )]
    let now = SystemTime::now();
    let _ = file.set_modified(now);
}

/// A module's bytes.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_MODULE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_MODULE {
        true => Err(io::Error::other(format!(
            "it has more than {MAX_MODULE} bytes"
        ))),
        false => Ok(bytes),
    }
}

/// The name of what a module compiles to. A code of another runtime is another one.
fn key(module: &[u8], with_fuel: bool) -> String {
    let mut digest = Sha256::new();
    digest.update(wasm::VERSION.unwrap_or_default());
    digest.update([0, u8::from(with_fuel)]);
    digest.update(module);
    units::hex::encode(digest.finalize())
}

async fn compile(sandbox: &Sandbox, module: Vec<u8>, with_fuel: bool) -> Result<Vec<u8>, Failure> {
    let mut call = Call::new(compiling(with_fuel));
    call.input = Bytes::from(module);
    call.limits = LIMITS;
    let outcome = sandbox.run(call).await.map_err(|error| match error {
        Error::Unavailable(_) | Error::Lost(_) => Failure::passing(
            "sandbox_unavailable",
            format!("the module was not compiled: {error}"),
        ),
        Error::NotStarted(_) | Error::Invalid(_) => invalid(error),
    })?;
    match outcome.ended {
        Ended::Exited(0) => Ok(outcome.output),
        Ended::Passed(limit) => Err(invalid(match limit {
            Limit::Wall | Limit::Cpu => "it takes too long to compile",
            Limit::Memory => "it takes too much memory to compile",
            Limit::Output | Limit::Disk => "it compiles to more than 256 MiB",
        })),
        Ended::Exited(_) | Ended::Signalled(_) => {
            let why = String::from_utf8_lossy(&outcome.error);
            let why = match why.trim() {
                "" => "the compiler failed without a word",
                why => why,
            };
            Err(invalid(why))
        }
    }
}

/// Writes code that was compiled; gives its digest.
fn keep(folder: &Path, key: &str, code: &[u8]) -> io::Result<String> {
    let private = || {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder
    };
    private().recursive(true).create(folder)?;
    let unfinished = folder.join(format!(".{key}.{}", std::process::id()));
    // One that a crash has left.
    let _ = fs::remove_dir_all(&unfinished);
    private().create(&unfinished)?;
    let write = |name: &str, bytes: &[u8]| -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        options.open(unfinished.join(name))?.write_all(bytes)
    };
    let digest = units::hex::encode(Sha256::digest(code));
    let written = write(Modules::CODE, code)
        .and_then(|()| write(Modules::DIGEST, digest.as_bytes()))
        .and_then(|()| {
            let place = folder.join(key);
            // One that another server has made meanwhile, or that cannot be read.
            let _ = fs::remove_dir_all(&place);
            fs::rename(&unfinished, place)
        });
    if written.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    written.map(|()| digest)
}

/// Removes those that were used least lately, until the others are few and small enough. `new` stays.
fn evict(folder: &Path, new: &str) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_new = path.file_name().is_some_and(|name| name == new);
        let used = fs::metadata(path.join(Modules::DIGEST)).and_then(|found| found.modified());
        let size = fs::metadata(path.join(Modules::CODE)).map_or(0, |found| found.len());
        let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
        kept.push((!is_new, std::cmp::Reverse(used), size, path));
    }
    kept.sort();
    let mut bytes = 0_u64;
    for (index, (may_go, _, size, path)) in kept.into_iter().enumerate() {
        bytes = bytes.saturating_add(size);
        if may_go && (index >= MAX_MODULES || bytes > MAX_MODULES_BYTES) {
            let _ = fs::remove_dir_all(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_few_and_the_oldest_go_first() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("modules");
        let name = |n: usize| format!("{n:064x}");
        for n in 0..MAX_MODULES + 3 {
            let digest = keep(&folder, &name(n), b"code").unwrap();
            assert_eq!(digest.len(), 64);
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + n as u64);
            let file = fs::File::options()
                .append(true)
                .open(folder.join(name(n)).join(Modules::DIGEST));
            file.unwrap().set_modified(used).unwrap();
        }
        // Used once more, the first one stays.
        let modules = Modules::new(folder.clone());
        let found = modules.find(&name(0)).unwrap();
        assert_eq!(found.folder, folder.canonicalize().unwrap().join(name(0)));
        evict(&folder, &name(MAX_MODULES + 2)).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), MAX_MODULES);
        assert!(modules.find(&name(0)).is_some());
        assert!(modules.find(&name(1)).is_none());
        assert!(modules.find(&name(MAX_MODULES + 2)).is_some());
        modules.forget(&found);
        assert_eq!(modules.counts(), (0, 1));
        assert!(modules.find(&name(0)).is_none());
        // What a crash has left is no module, and goes as well.
        fs::create_dir(folder.join(".left")).unwrap();
        for n in 0..3 {
            keep(&folder, &name(1_000 + n), b"code").unwrap();
        }
        evict(&folder, &name(1_000)).unwrap();
        assert!(!folder.join(".left").exists());
    }

    #[test]
    fn a_module_that_is_too_large_or_no_file_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let large = temp.path().join("large.wasm");
        fs::File::create(&large)
            .unwrap()
            .set_len(MAX_MODULE + 1)
            .unwrap();
        assert!(read(&large).unwrap_err().to_string().contains("more than"));
        assert!(
            read(temp.path())
                .unwrap_err()
                .to_string()
                .contains("no file")
        );
        assert_ne!(key(b"a", true), key(b"a", false));
    }
}
