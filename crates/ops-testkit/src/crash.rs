use std::path::{Path, PathBuf};

use anyhow::bail;

/// A named point at which the product kills itself with `SIGKILL`.
///
/// Binaries built with the feature `failpoints` read `OPSPAWN_CRASH=name:n` (die at the n-th hit of
/// the point, from 1) and append the point's name to the file in `OPSPAWN_CRASH_LOG` just before
/// they die. A test proves by [`CrashPlan::must_have_fired`] that its fault landed.
#[derive(Clone, Debug)]
pub struct CrashPlan {
    point: String,
    hit: u32,
    log: PathBuf,
}

impl CrashPlan {
    /// Dies at the `hit`-th time (from 1) that `point` is reached; `log` is the file that will
    /// tell.
    pub fn new(point: impl Into<String>, hit: u32, log: impl Into<PathBuf>) -> Self {
        Self {
            point: point.into(),
            hit,
            log: log.into(),
        }
    }

    /// The variables that arm the point, for a process to be started.
    pub fn env(&self) -> [(&'static str, String); 2] {
        [
            ("OPSPAWN_CRASH", format!("{}:{}", self.point, self.hit)),
            ("OPSPAWN_CRASH_LOG", self.log.display().to_string()),
        ]
    }

    /// The points that fired so far, of all processes that shared the log.
    pub fn fired(&self) -> anyhow::Result<Vec<String>> {
        fired(&self.log)
    }

    /// An error unless this plan's point has fired.
    pub fn must_have_fired(&self) -> anyhow::Result<()> {
        let fired = self.fired()?;
        if !fired.contains(&self.point) {
            bail!(
                "crash point {}:{} never fired; fired: {fired:?}",
                self.point,
                self.hit
            );
        }
        Ok(())
    }
}

fn fired(log: &Path) -> anyhow::Result<Vec<String>> {
    match std::fs::read_to_string(log) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
