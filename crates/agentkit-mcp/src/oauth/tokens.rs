//! Where tokens are kept.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use agentkit::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The grant of a person, and who asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The authorization server.
    pub issuer: String,
    /// The resource of the token.
    pub resource: String,
    /// Where tokens are got.
    pub token_endpoint: String,
    /// Where the client said that people come back to.
    pub redirect_uri: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// How it says who it is.
    pub auth_method: String,
    /// Granted scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// What a new one is got for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("issuer", &self.issuer)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// Takes the tokens of an answer. A server that rotates none keeps the one for new tokens.
    pub(super) fn take(&mut self, answer: &Value) {
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        self.access_token = text("access_token");
        self.refresh_token = text("refresh_token").or(self.refresh_token.take());
        self.scope = text("scope").or(self.scope.take());
    }
}

/// Held while a grant is changed.
pub struct Guard(#[expect(dead_code, reason = "its end is what counts")] Option<fs::File>);

/// Keeps grants, by server.
pub trait Tokens: Send + Sync {
    /// The grant of a server.
    fn load(&self, server: &str) -> Option<Grant>;

    /// Keeps a grant; on disk when it returns.
    ///
    /// # Errors
    /// The reason why the grant cannot be kept.
    fn save(&self, server: &str, grant: &Grant) -> Result<(), String>;

    /// Waits until no other task, in any process, changes the grant of a server.
    ///
    /// # Errors
    /// Why that cannot be known.
    fn guard<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Guard, String>>;
}

/// Grants that end with the process.
#[derive(Default)]
pub struct MemoryTokens(Mutex<BTreeMap<String, Grant>>);

impl Tokens for MemoryTokens {
    fn load(&self, server: &str) -> Option<Grant> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(server)
            .cloned()
    }

    fn save(&self, server: &str, grant: &Grant) -> Result<(), String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(server.to_owned(), grant.clone());
        Ok(())
    }

    fn guard<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Guard, String>> {
        Box::pin(std::future::ready(Ok(Guard(None))))
    }
}

/// A file for each server, for its user alone.
pub struct FileTokens(PathBuf);

impl FileTokens {
    /// Grants in a folder, which is made when the first is kept.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    fn path(&self, server: &str, end: &str) -> PathBuf {
        self.0
            .join(format!("{}{end}", crate::names::source(server)))
    }

    fn folder(&self) -> Result<(), String> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0);
        made.map_err(|error| format!("cannot make the folder {}: {error}", self.0.display()))
    }
}

impl Tokens for FileTokens {
    fn load(&self, server: &str) -> Option<Grant> {
        let text = fs::read_to_string(self.path(server, ".json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Beside the old file, then in its place: a crash leaves one of the two whole.
    fn save(&self, server: &str, grant: &Grant) -> Result<(), String> {
        self.folder()?;
        let (path, new) = (self.path(server, ".json"), self.path(server, ".new"));
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(serde_json::to_string(grant)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| {
            format!(
                "the credentials cannot be kept in {}: {error}",
                path.display()
            )
        })
    }

    fn guard<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Guard, String>> {
        Box::pin(async move {
            self.folder()?;
            let path = self.path(server, ".lock");
            let locked = tokio::task::spawn_blocking(move || {
                let mut options = fs::OpenOptions::new();
                let file = options
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(path)?;
                file.lock()?;
                Ok::<_, std::io::Error>(file)
            });
            match locked.await {
                Ok(Ok(file)) => Ok(Guard(Some(file))),
                Ok(Err(error)) => Err(format!("the credentials cannot be locked: {error}")),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn grants_are_kept_for_their_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = FileTokens::new(&folder.path().join("c"));
        assert!(tokens.load("s").is_none());
        let text = |text: &str| text.to_owned();
        let mut grant = Grant {
            issuer: text("i"),
            resource: text("r"),
            token_endpoint: text("t"),
            redirect_uri: text("u"),
            client_id: text("c"),
            client_secret: Some(text("hush")),
            auth_method: text("none"),
            scope: None,
            access_token: Some(text("a")),
            refresh_token: Some(text("f")),
        };
        let guard = tokens.guard("s").await.unwrap();
        tokens.save("s", &grant).unwrap();
        drop(guard);
        assert_eq!(tokens.load("s"), Some(grant.clone()));
        let mode = fs::metadata(folder.path().join("c/s.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{grant:?}").contains("hush"));
        grant.take(&serde_json::json!({"access_token": "b"}));
        assert_eq!(
            (
                grant.access_token.as_deref(),
                grant.refresh_token.as_deref()
            ),
            (Some("b"), Some("f"))
        );
    }
}
