//! The configuration of a running server, read anew.

use anyhow::Result;

use super::{Config, SETTINGS};

/// Settings that a reload takes, beside those of `tools`. Every other setting takes effect at the next start.
const RELOADED: [&str; 3] = ["policy", "mcp.config", "secrets.file"];

/// A configuration for runs that have not begun.
pub(crate) struct Reread {
    /// The configuration: what a reload takes is new, and the rest as it was at the start.
    pub(crate) config: Config,
    /// Keys whose values have changed and take effect at the next start.
    pub(crate) needs_restart: Vec<String>,
}

impl Config {
    /// Reads every layer anew.
    ///
    /// # Errors
    /// A mistake in a layer, also in a part that a reload does not take.
    pub(crate) fn reread(&self) -> Result<Reread> {
        let fresh = Self::load(&self.flags, self.named.as_deref())?;
        Ok(self.taking(fresh))
    }

    fn taking(&self, mut fresh: Self) -> Reread {
        let mut needs_restart = Vec::new();
        for setting in SETTINGS {
            let key = setting.key;
            if key.starts_with("tools.") || RELOADED.contains(&key) {
                continue;
            }
            if fresh.optional(key) != self.optional(key) {
                needs_restart.push(key.to_owned());
            }
            match self.values.get(key) {
                Some(value) => fresh.values.insert(key, value.clone()),
                None => fresh.values.remove(key),
            };
        }
        if fresh.catalog != self.catalog {
            needs_restart.push("models".to_owned());
            fresh.catalog = self.catalog.clone();
        }
        if fresh.budgets != self.budgets {
            needs_restart.push("budgets".to_owned());
            fresh.budgets.clone_from(&self.budgets);
        }
        if fresh.queues != self.queues {
            needs_restart.push("queues".to_owned());
            fresh.queues.clone_from(&self.queues);
        }
        Reread {
            config: fresh,
            needs_restart,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_reload_takes_tools_and_names_what_needs_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("opspawn.toml");
        fs::write(&file, "[limits]\nmax_steps = 7\n").unwrap();
        let flags = [("data", folder.path().display().to_string())];
        let config = Config::load(&flags, None).unwrap();
        let same = config.reread().unwrap();
        assert_eq!(same.needs_restart, Vec::<String>::new());

        let text = "[limits]\nmax_steps = 8\n[tools.http]\ntimeout = \"7s\"\n[queues.more]\n\
                    [tools.command.count]\ndescription = \"Counts\"\ncommand = [\"wc\"]\n";
        fs::write(&file, text).unwrap();
        let reread = config.reread().unwrap();
        assert_eq!(reread.needs_restart, ["limits.max_steps", "queues"]);
        assert_eq!(reread.config.number("limits.max_steps"), Some(7));
        assert_eq!(reread.config.optional("tools.http.timeout"), Some("7s"));
        assert_eq!(reread.config.commands()[0].name, "count");
        // The next reload compares with the start again.
        let again = reread.config.reread().unwrap();
        assert_eq!(again.needs_restart, ["limits.max_steps", "queues"]);

        fs::write(&file, "[limits]\nmax_steps = \"many\"\n").unwrap();
        let error = format!("{:#}", config.reread().err().unwrap());
        assert!(error.contains("limits.max_steps"), "{error}");
    }
}
