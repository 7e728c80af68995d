//! The port that reads a process's configuration anew.

use super::Fut;

/// Reads the configuration anew for runs that have not begun. The binary implements the trait: the binary has the
/// files.
pub trait Reload: Send + Sync {
    /// Reads the files. A refusal changes nothing.
    fn reload(&self) -> Fut<'_, Result<Reloaded, ReloadRefused>>;
}

/// Outcome of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Sentences about entries that are odd or still cannot be used.
    pub notes: Vec<String>,
    /// Keys of settings that have changed in the files and take effect at the next start.
    pub needs_restart: Vec<String>,
}

/// The mistake in the files: a sentence that names the file and the place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadRefused(pub String);

/// A process without files to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReload;

impl Reload for NoReload {
    fn reload(&self) -> Fut<'_, Result<Reloaded, ReloadRefused>> {
        let refused = ReloadRefused("this process has no configuration files to read".to_owned());
        Box::pin(std::future::ready(Err(refused)))
    }
}
