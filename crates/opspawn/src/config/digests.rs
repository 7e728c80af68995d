//! Digests of the parts of a configuration, by which processes on one database compare theirs.

use std::fmt::Write as _;

use anyhow::Result;
use ops_core::ports::Configuration;
use sha2::{Digest as _, Sha256};

use super::{Config, SETTINGS};

/// The settings that runs go by, by the beginnings of their keys. Folders and addresses belong to a process.
const PARTS: [(&str, &[&str]); 4] = [
    ("limits", &["limits.", "retry.", "memory.", "agent."]),
    (
        "models",
        &["model.", "openai.", "anthropic.", "google.", "openrouter."],
    ),
    ("tools", &["tools."]),
    ("budgets", &[]),
];

impl Config {
    /// The digests of this process.
    ///
    /// # Errors
    /// The policy or the file of MCP servers cannot be read.
    pub(crate) fn digests(&self) -> Result<Configuration> {
        let mut parts = std::collections::BTreeMap::new();
        for (part, beginnings) in PARTS {
            let mut text = self.settings_of(beginnings);
            match part {
                "models" => text += &format!("{:?}", self.catalog),
                "tools" => self.tools(&mut text)?,
                "budgets" => text += &format!("{:?}", self.budgets),
                _ => {}
            }
            parts.insert(part.to_owned(), digest(&text));
        }
        let policy = crate::policy::text(self)?.unwrap_or_default();
        parts.insert("policy".to_owned(), digest(&policy));
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy();
        Ok(Configuration {
            process: format!("{machine} (process {})", std::process::id()),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            parts,
        })
    }

    fn settings_of(&self, beginnings: &[&str]) -> String {
        let is_of = |key: &str| {
            beginnings
                .iter()
                .any(|beginning| key.starts_with(beginning))
        };
        let mut text = String::new();
        // The path of a script is one of the machine.
        let of_part = SETTINGS.iter().filter(|setting| is_of(setting.key));
        for setting in of_part.filter(|setting| setting.key != "agent.script") {
            let value = self.optional(setting.key).unwrap_or_default();
            let _ = writeln!(text, "{}={value}", setting.key);
        }
        text
    }

    fn tools(&self, text: &mut String) -> Result<()> {
        for declared in &self.commands {
            let _ = writeln!(text, "{} {:?}", declared.name, declared.definition);
        }
        for declared in &self.databases {
            let _ = writeln!(text, "{} {:?}", declared.name, declared.definition);
        }
        let _ = writeln!(text, "{:?}", self.writes);
        text.push_str(&crate::mcp::text(self)?.unwrap_or_default());
        Ok(())
    }
}

/// The first 16 digits of the SHA-256 of a part's text.
fn digest(text: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(text).into();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_part_has_a_digest_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("opspawn.toml");
        let digests = |text: &str, policy: &str| {
            fs::write(&file, text).unwrap();
            fs::write(folder.path().join("policy.toml"), policy).unwrap();
            let flags = [("data", folder.path().display().to_string())];
            Config::load(&flags, None).unwrap().digests().unwrap().parts
        };
        let usual = digests("", "");
        assert_eq!(usual.len(), 5);
        let changed = |text: &str, policy: &str| {
            let parts = digests(text, policy);
            let differs = |(name, digest): (&String, &String)| {
                (usual.get(name) != Some(digest)).then(|| name.clone())
            };
            parts.iter().filter_map(differs).collect::<Vec<_>>()
        };
        assert_eq!(changed("", ""), Vec::<String>::new());
        assert_eq!(changed("[limits]\nmax_steps = 7\n", ""), ["limits"]);
        assert_eq!(
            changed("[openai]\nrequests_per_minute = 7\n", ""),
            ["models"]
        );
        assert_eq!(changed("[tools.http]\ntimeout = '7s'\n", ""), ["tools"]);
        let budget = "[budgets.all]\nperiod = 'day'\ntokens = 5\n";
        assert_eq!(changed(budget, ""), ["budgets"]);
        assert_eq!(changed("", "# a comment\n"), ["policy"]);
        // What belongs to one process makes no difference.
        let own = "listen = '127.0.0.1:8123'\n[worker]\nconcurrency = 3\n";
        assert_eq!(changed(own, ""), Vec::<String>::new());
    }
}
