//! Temporary folders of servers.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process,
};

use anyhow::Context as _;

const PREFIX: &str = "opspawn-test-";
/// `nobody` and `nogroup` of Debian, and of most other systems.
const NOBODY: u32 = 65_534;

/// A folder that is removed with its owner. It belongs to whom the servers run as.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make() -> anyhow::Result<Self> {
        let root = std::env::temp_dir();
        for number in 0..1_000 {
            let path = root.join(format!("{PREFIX}{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let folder = Self(path);
                    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
                    give_away(folder.path())?;
                    return Ok(folder);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context("no temporary folder"),
            }
        }
        anyhow::bail!("there are a thousand folders of this process already")
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that the servers may read.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {name}"))?;
        give_away(&path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn give_away(path: &Path) -> anyhow::Result<()> {
    if super::is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).context("cannot give a folder to nobody")?;
    }
    Ok(())
}

/// Removes the folders of processes that were killed: the kernel stopped their servers.
pub(super) fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let owner = owner.and_then(|rest| rest.split_once('-'));
        let Some((pid, _)) = owner else { continue };
        let is_number = pid.parse::<u32>().is_ok();
        if is_number && !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
