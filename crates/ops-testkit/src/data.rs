use std::{
    env,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A temporary folder for one product instance and for the logs of its witnesses.
///
/// It is removed at the end, unless the variable `OPSPAWN_TEST_KEEP` is set.
#[derive(Debug)]
pub struct DataDir(TempDir);

impl DataDir {
    /// Makes an empty folder under the machine's temporary folder.
    pub fn new() -> anyhow::Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("opspawn-test-").tempdir()?;
        folder.disable_cleanup(env::var_os("OPSPAWN_TEST_KEEP").is_some());
        Ok(Self(folder))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path inside the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}
