//! OAuth 2.1 for servers behind a URL: who asks is told by a token that a person allowed.
//!
//! Endpoints come from documents only: that of the server names its authorization server, and the document of
//! that names the rest. A token is for one resource and of one issuer; both are compared byte for byte. Tokens
//! lie in a file of their own; one refresh runs at a time, in all processes that share the file.

mod discovery;
mod grant;
mod tokens;

use std::sync::Arc;

use agentkit::BoxFuture;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

pub use self::tokens::{FileTokens, Grant, MemoryTokens, Tokens};
use self::{
    discovery::{Issuer, Protected},
    grant::Client,
};
use crate::{
    config::OauthConfig,
    http::{Credentials, Refusal, reach::Reach},
    wire::MAX_MESSAGE,
};

/// A URL that allows no private address.
static NOWHERE: std::sync::LazyLock<Url> =
    std::sync::LazyLock::new(|| Url::parse("https://nowhere.invalid/").expect("the URL is valid"));

/// How often a person is asked before the server is given up: more scopes may be wanted, but not for ever.
const MAX_AUTHORIZATIONS: u32 = 3;

/// Leads a person through an authorization.
pub trait Browser: Send + Sync {
    /// Where the authorization server sends the person back to.
    fn redirect_uri(&self) -> String;

    /// Opens a page and waits for the address that the person is sent back to.
    ///
    /// # Errors
    /// Why there is none, for instance that nobody is there.
    fn authorize<'a>(&'a self, page: &'a Url) -> BoxFuture<'a, Result<Url, String>>;
}

/// No person is there to give leave.
pub struct NoBrowser {
    /// The action of a person elsewhere.
    pub remedy: String,
}

impl Browser for NoBrowser {
    fn redirect_uri(&self) -> String {
        "http://127.0.0.1/callback".to_owned()
    }

    fn authorize<'a>(&'a self, _: &'a Url) -> BoxFuture<'a, Result<Url, String>> {
        Box::pin(std::future::ready(Err(self.remedy.clone())))
    }
}

/// The authorization of one server.
pub(crate) struct Oauth {
    pub(crate) server: String,
    pub(crate) url: Url,
    pub(crate) config: OauthConfig,
    pub(crate) reach: Reach,
    pub(crate) tokens: Arc<dyn Tokens>,
    pub(crate) browser: Arc<dyn Browser>,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// How often a person was asked since a request worked.
    authorizations: u32,
    /// Scopes that were asked for, all together.
    scopes: Vec<String>,
}

impl Credentials for Oauth {
    fn authorization(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            let grant = self.tokens.load(&self.server)?;
            let token = grant.access_token.filter(|token| !token.is_empty())?;
            Some(format!("Bearer {token}"))
        })
    }

    fn refused<'a>(&'a self, refusal: Refusal) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let current = self.authorization().await;
            // Somebody else was faster: another call, or another process.
            if current.is_some() && current != refusal.sent {
                return Ok(());
            }
            let wants_more = refusal.status == 403;
            if wants_more
                && parameter(&refusal.challenge, "error").as_deref() != Some("insufficient_scope")
            {
                return Err("it answered 403: who asks may not do that".to_owned());
            }
            if !wants_more && current.is_some() && self.refreshed(refusal.sent.as_deref()).await? {
                return Ok(());
            }
            if state.authorizations >= MAX_AUTHORIZATIONS {
                return Err("it was authorized again and again, and still refuses".to_owned());
            }
            state.authorizations += 1;
            self.authorize(&refusal.challenge, &mut state).await
        })
    }
}

impl Oauth {
    /// Gets a new token in place of a refused token, if there is a way without a person.
    async fn refreshed(&self, refused: Option<&str>) -> Result<bool, String> {
        let _guard = self.tokens.guard(&self.server).await?;
        let Some(mut grant) = self.tokens.load(&self.server) else {
            return Ok(false);
        };
        let header = grant
            .access_token
            .as_ref()
            .map(|token| format!("Bearer {token}"));
        if header.as_deref() != refused {
            // Another process has refreshed it meanwhile: its token is used, and nothing is taken away.
            return Ok(header.is_some());
        }
        let Some(refresh) = grant.refresh_token.clone() else {
            return Ok(false);
        };
        let client = Client::of(&grant);
        let mut form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", refresh),
        ];
        form.push(("resource", grant.resource.clone()));
        let endpoint = Url::parse(&grant.token_endpoint).map_err(|error| error.to_string())?;
        match client.token(self, &endpoint, form).await {
            Ok(answer) => {
                grant.take(&answer);
                self.tokens.save(&self.server, &grant)?;
                Ok(true)
            }
            // The person has to allow it anew. The grant stays until then.
            Err(grant::TokenError::Refused(_)) => Ok(false),
            Err(grant::TokenError::Failed(why)) => Err(why),
        }
    }

    /// Has a person allow it.
    async fn authorize(&self, challenge: &str, state: &mut State) -> Result<(), String> {
        let protected = Protected::find(self, challenge).await?;
        self.is_issuer(&protected.issuer)?;
        let issuer = Issuer::find(self, &protected.issuer).await?;
        let scopes = parameter(challenge, "scope")
            .or_else(|| self.config.scope.clone())
            .or_else(|| protected.scopes.clone());
        for scope in scopes.iter().flat_map(|scopes| scopes.split_whitespace()) {
            if !state.scopes.iter().any(|known| known == scope) {
                state.scopes.push(scope.to_owned());
            }
        }
        let offline = "offline_access";
        if issuer.scopes.iter().any(|scope| scope == offline)
            && !state.scopes.iter().any(|scope| scope == offline)
        {
            state.scopes.push(offline.to_owned());
        }
        let redirect = self.browser.redirect_uri();
        let known = self
            .tokens
            .load(&self.server)
            .filter(|grant| grant.issuer == issuer.issuer);
        let mut again = false;
        loop {
            let client = match (&known, again) {
                (Some(grant), false) if grant.redirect_uri == redirect => Client::of(grant),
                _ => Client::register(self, &issuer, &redirect).await?,
            };
            let flow = grant::Flow {
                oauth: self,
                issuer: &issuer,
                protected: &protected,
                redirect: &redirect,
            };
            match flow.run(&client, &state.scopes).await {
                Ok(grant) => {
                    let _guard = self.tokens.guard(&self.server).await?;
                    return self.tokens.save(&self.server, &grant);
                }
                // A registration that is not known there any more is made anew, once.
                Err(grant::TokenError::Refused(code))
                    if !again
                        && known.is_some()
                        && ["invalid_client", "unauthorized_client"].contains(&&*code) =>
                {
                    again = true;
                }
                Err(grant::TokenError::Refused(code)) => {
                    return Err(format!(
                        "the authorization server `{}` refused: {code}",
                        issuer.issuer
                    ));
                }
                Err(grant::TokenError::Failed(why)) => return Err(why),
            }
        }
    }

    /// Refuses another authorization server than the configured one.
    fn is_issuer(&self, named: &str) -> Result<(), String> {
        let plain = |text: &str| text.trim_end_matches('/').to_owned();
        match &self.config.issuer {
            Some(issuer) if plain(issuer.as_str()) != plain(named) => Err(format!(
                "the server names another authorization server than the configuration: `{}`, and `oauth.issuer` is `{issuer}`",
                crate::text::shown(named, 200)
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A document; none if it is not there.
    async fn document(&self, url: &Url) -> Result<Option<Value>, String> {
        let client = self.client(url)?;
        let sent = client
            .get(url.clone())
            .header("accept", "application/json")
            .send()
            .await;
        let response = sent.map_err(|error| format!("`{url}` cannot be read: {error}"))?;
        if !response.status().is_success() {
            return Ok(None);
        }
        Ok(serde_json::from_slice(&body(response).await?)
            .ok()
            .filter(Value::is_object))
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client, String> {
        let configured = self.configured(url);
        self.reach.check(configured, url)?;
        self.reach.client(configured, url)
    }

    /// The configured URL that a URL of a document belongs to: the server's or the issuer's, with scheme, host and port.
    /// A document that leads to another port of a private host leads to another service there, which nobody wrote into
    /// the configuration.
    fn configured(&self, url: &Url) -> &Url {
        let issuer = self.config.issuer.as_ref();
        let mut own = [Some(&self.url), issuer].into_iter().flatten();
        let is_same = |one: &&Url| {
            one.origin() == url.origin() || units::mutant!("agentkit-mcp.documents_lead_anywhere")
        };
        own.find(is_same).unwrap_or(&NOWHERE)
    }
}

async fn body(response: reqwest::Response) -> Result<Vec<u8>, String> {
    use futures_util::StreamExt as _;
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
        if body.len() > MAX_MESSAGE / 8 {
            return Err("a document of the authorization server is too large".to_owned());
        }
    }
    Ok(body)
}

/// A parameter of the header `WWW-Authenticate`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    loop {
        let at = rest.find(name)?;
        let before = rest[..at].chars().next_back();
        rest = &rest[at + name.len()..];
        let value = rest.trim_start().strip_prefix('=').map(str::trim_start);
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let Some(value) = value else { continue };
        return Some(match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
            None => value
                .split([',', ' '])
                .next()
                .unwrap_or_default()
                .to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_challenge_are_read() {
        let challenge = r#"Bearer error="insufficient_scope", scope="a b", resource_metadata="https://x.example/y", error_description="no, error=x""#;
        for (name, expected) in [
            ("error", Some("insufficient_scope")),
            ("scope", Some("a b")),
            ("resource_metadata", Some("https://x.example/y")),
            ("nonce", None),
        ] {
            assert_eq!(parameter(challenge, name).as_deref(), expected, "{name}");
        }
        assert_eq!(
            parameter("Bearer scope=a, x=1", "scope").as_deref(),
            Some("a")
        );
    }
}

#[cfg(test)]
mod reach_tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{config::OauthConfig, http::reach::Reach};

    /// A service on loopback that says which paths it was asked for, and answers with one document.
    async fn service(document: impl Fn(u16) -> Value) -> (u16, Arc<std::sync::Mutex<Vec<String>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let body = document(port).to_string();
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&head[..read]).into_owned();
                let line = line.lines().next().unwrap_or_default().to_owned();
                seen.lock().unwrap().push(line);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (port, asked)
    }

    fn oauth(port: u16, issuer: Option<u16>) -> Oauth {
        let at = |port: u16| Url::parse(&format!("http://127.0.0.1:{port}/mcp")).unwrap();
        Oauth {
            server: "s".to_owned(),
            url: at(port),
            config: OauthConfig {
                issuer: issuer.map(|port| at(port).join("/").unwrap()),
                ..OauthConfig::default()
            },
            reach: Reach::default(),
            tokens: Arc::new(MemoryTokens::default()),
            browser: Arc::new(NoBrowser {
                remedy: "nobody is here".to_owned(),
            }),
            state: Mutex::default(),
        }
    }

    /// Promise P11: the documents of a server on loopback do not make this process ask other services there.
    #[tokio::test]
    async fn documents_lead_to_no_other_service_of_loopback() {
        let (other, asked) = service(|port| {
            serde_json::json!({
                "issuer": format!("http://127.0.0.1:{port}"),
                "authorization_endpoint": format!("http://127.0.0.1:{port}/authorize"),
                "token_endpoint": format!("http://127.0.0.1:{port}/token"),
                "registration_endpoint": format!("http://127.0.0.1:{port}/register"),
                "code_challenge_methods_supported": ["S256"],
            })
        })
        .await;
        let (own, _) = service(|port| {
            serde_json::json!({
                "resource": format!("http://127.0.0.1:{port}/mcp"),
                "authorization_servers": [format!("http://127.0.0.1:{other}")],
            })
        })
        .await;
        let named = format!("Bearer resource_metadata=\"http://127.0.0.1:{other}/secret\"");
        let refused = |challenge: &str| Refusal {
            status: 401,
            challenge: challenge.to_owned(),
            sent: None,
        };
        for challenge in [named.as_str(), "Bearer"] {
            let why = oauth(own, None)
                .refused(refused(challenge))
                .await
                .unwrap_err();
            assert!(why.contains("tools.http.allow"), "{why}");
        }
        assert_eq!(
            *asked.lock().unwrap(),
            [""; 0],
            "the other service was asked"
        );
        // Written into the configuration, it is asked.
        let why = oauth(own, Some(other))
            .refused(refused("Bearer"))
            .await
            .unwrap_err();
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        assert!(
            asked[0].contains("/.well-known/oauth-authorization-server"),
            "{asked:?} {why}"
        );
        // Then the server may name no other.
        let why = oauth(own, Some(own))
            .refused(refused("Bearer"))
            .await
            .unwrap_err();
        assert!(why.contains("names another authorization server"), "{why}");
    }
}
