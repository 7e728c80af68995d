//! Secrets of tools: from a file that only its owner reads, else from the environment.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use agentkit_mcp::config::Variable;
use agentkit_tools::command::{Secret, SecretError, Secrets};

use crate::config::{Config, parse_dotenv};

/// The file and the environment of this process. The file is read for each call, so that a changed secret needs no restart.
pub(crate) struct FileAndEnvironment {
    file: PathBuf,
    /// Whether the setting names the file, which then has to exist.
    is_named: bool,
}

impl FileAndEnvironment {
    /// The sources of this configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let named = config.optional("secrets.file").map(PathBuf::from);
        Self {
            is_named: named.is_some(),
            file: named.unwrap_or_else(|| config.data_dir().join("secrets.env")),
        }
    }

    /// The value of a variable of the file of MCP servers: as a secret of that name, else empty or none as the environment
    /// has it.
    pub(crate) fn lookup(&self, name: &str) -> Option<Variable> {
        let found = self.in_file(name).unwrap_or_else(|error| {
            tracing::warn!(%error, "the file of secrets is passed over");
            None
        });
        match found {
            Some(value) => Some(Variable {
                value,
                is_secret: true,
            }),
            None => std::env::var(name).ok().map(Variable::from),
        }
    }

    fn in_file(&self, name: &str) -> Result<Option<String>, SecretError> {
        let shown = self.file.display();
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !self.is_named => return Ok(None),
            Err(error) => {
                return Err(SecretError(format!(
                    "the secrets in {shown} cannot be read: {error}"
                )));
            }
        };
        if is_open(&self.file) {
            return Err(SecretError(format!(
                "others than its owner may read {shown}; `chmod 600` it before its secrets are used"
            )));
        }
        Ok(parse_dotenv(&text).remove(name))
    }
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

impl Secrets for FileAndEnvironment {
    fn get(&self, name: &str) -> Result<Secret, SecretError> {
        let found = self.in_file(name)?.or_else(|| std::env::var(name).ok());
        match found.filter(|value| !value.is_empty()) {
            Some(value) => Ok(Secret::new(value)),
            None => Err(SecretError(format!(
                "there is no secret `{name}`: write `{name}=value` into {}, or set the variable {name} of this process",
                self.file.display()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_a_file_of_its_owner_or_in_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets.env");
        let data = dir.path().display().to_string();
        let config = Config::load(&[("data", data)], None).unwrap();
        let secrets = FileAndEnvironment::new(&config);
        assert!(secrets.get("PATH").is_ok(), "of the environment");
        let error = secrets.get("NO_SUCH_SECRET").unwrap_err().to_string();
        assert!(
            error.contains("write `NO_SUCH_SECRET=value` into"),
            "{error}"
        );
        fs::write(&file, "TOKEN='of the file'\nPATH=other\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = secrets.get("TOKEN").unwrap_err().to_string();
        assert!(
            error.contains("chmod 600") && !error.contains("of the file"),
            "{error}"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(secrets.get("TOKEN").unwrap().reveal(), "of the file");
        assert_eq!(secrets.get("PATH").unwrap().reveal(), "other");
        let of_file = secrets.lookup("TOKEN").unwrap();
        assert_eq!(
            (of_file.value.as_str(), of_file.is_secret),
            ("of the file", true)
        );
        let of_process = secrets.lookup("HOME").map(|found| found.is_secret);
        assert_ne!(of_process, Some(true), "of the environment");
        assert_eq!(secrets.lookup("NO_SUCH_SECRET"), None);
    }
}
