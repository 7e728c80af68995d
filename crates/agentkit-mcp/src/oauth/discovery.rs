//! Documents that say where to authorize (RFC 9728, RFC 8414, OpenID Connect Discovery).

use serde_json::Value;
use url::Url;

use super::{Oauth, parameter};
use crate::text::shown;

/// A server's description of its protection.
pub(super) struct Protected {
    /// What tokens are for; sent as it is written.
    pub(super) resource: String,
    /// Its authorization server.
    pub(super) issuer: String,
    /// Known scopes.
    pub(super) scopes: Option<String>,
}

/// An authorization server.
pub(super) struct Issuer {
    pub(super) issuer: String,
    pub(super) authorize: Url,
    pub(super) token: Url,
    pub(super) register: Option<Url>,
    pub(super) scopes: Vec<String>,
    /// How clients say who they are at the token endpoint.
    pub(super) methods: Vec<String>,
    /// Whether it says in its answer who it is (RFC 9207).
    pub(super) names_itself: bool,
    /// Whether a client may be a document.
    pub(super) takes_documents: bool,
}

impl Protected {
    pub(super) async fn find(oauth: &Oauth, challenge: &str) -> Result<Self, String> {
        let mut places = Vec::new();
        if let Some(named) = parameter(challenge, "resource_metadata") {
            let url = oauth
                .url
                .join(&named)
                .map_err(|error| format!("`resource_metadata`: {error}"))?;
            places.push(url);
        }
        let path = oauth.url.path().trim_end_matches('/');
        for path in [path, ""] {
            let mut url = oauth.url.clone();
            url.set_query(None);
            url.set_path(&format!("/.well-known/oauth-protected-resource{path}"));
            places.push(url);
        }
        for place in places {
            if let Some(document) = oauth.document(&place).await? {
                return Self::read(oauth, &document);
            }
        }
        // Before 2025-06-18 there was no such document: the server was its own authorization server.
        Ok(Self {
            resource: without_fragment(&oauth.url),
            issuer: oauth.url.origin().ascii_serialization(),
            scopes: None,
        })
    }

    fn read(oauth: &Oauth, document: &Value) -> Result<Self, String> {
        let resource = document["resource"].as_str().unwrap_or_default();
        if !is_ours(&oauth.url, resource) {
            return Err(format!(
                "its document is about another resource: `{}`, and the configuration has `{}`",
                shown(resource, 200),
                without_fragment(&oauth.url)
            ));
        }
        let servers = document["authorization_servers"].as_array();
        let issuer = servers.and_then(|all| all.iter().find_map(Value::as_str));
        Ok(Self {
            resource: resource.to_owned(),
            issuer: match issuer {
                Some(issuer) => issuer.to_owned(),
                None => oauth.url.origin().ascii_serialization(),
            },
            scopes: words(&document["scopes_supported"])
                .map(|all| all.join(" "))
                .filter(|all| !all.is_empty()),
        })
    }
}

impl Issuer {
    pub(super) async fn find(oauth: &Oauth, issuer: &str) -> Result<Self, String> {
        let base = Url::parse(issuer)
            .map_err(|error| format!("its authorization server is no URL: {error}"))?;
        for place in places(&base) {
            let Some(document) = oauth.document(&place).await? else {
                continue;
            };
            let named = document["issuer"].as_str().unwrap_or_default();
            if named != issuer {
                return Err(format!(
                    "the document of the authorization server names another issuer: `{}`, and it was asked of \
                     `{issuer}`",
                    shown(named, 200)
                ));
            }
            return Self::read(&document, issuer);
        }
        Err(format!(
            "the authorization server `{issuer}` has no document that says how to authorize"
        ))
    }

    fn read(document: &Value, issuer: &str) -> Result<Self, String> {
        let url = |key: &str| document[key].as_str().and_then(|url| Url::parse(url).ok());
        let missing = |key: &str| {
            format!("the document of the authorization server `{issuer}` has no `{key}`")
        };
        let methods = words(&document["code_challenge_methods_supported"]).unwrap_or_default();
        if !methods.iter().any(|method| method == "S256") {
            return Err(format!(
                "the authorization server `{issuer}` does not offer PKCE with S256"
            ));
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            authorize: url("authorization_endpoint")
                .ok_or_else(|| missing("authorization_endpoint"))?,
            token: url("token_endpoint").ok_or_else(|| missing("token_endpoint"))?,
            register: url("registration_endpoint"),
            scopes: words(&document["scopes_supported"]).unwrap_or_default(),
            methods: words(&document["token_endpoint_auth_methods_supported"]).unwrap_or_default(),
            names_itself: document["authorization_response_iss_parameter_supported"] == true,
            takes_documents: document["client_id_metadata_document_supported"] == true,
        })
    }
}

/// Where the document of an issuer may be, in the order of the specification.
fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_query(None);
        url.set_path(&path);
        url
    };
    let mut places = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        places.push(at(format!("{path}/.well-known/openid-configuration")));
    }
    places
}

/// Whether a resource is the server of the configuration, or what it is a part of.
fn is_ours(url: &Url, resource: &str) -> bool {
    let Ok(named) = Url::parse(resource) else {
        return false;
    };
    let path = named.path().trim_end_matches('/');
    let below = url.path().strip_prefix(path);
    named.origin() == url.origin()
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_fragment(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    url.to_string()
}

fn words(value: &Value) -> Option<Vec<String>> {
    let all = value.as_array()?.iter();
    Some(all.filter_map(Value::as_str).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ahead-tools/29.
    #[test]
    fn a_resource_of_another_host_is_not_ours() {
        let url = Url::parse("https://h.example/a/mcp").unwrap();
        for (resource, expected) in [
            ("https://h.example/a/mcp", true),
            ("https://h.example", true),
            ("https://h.example/", true),
            ("https://h.example/a", true),
            ("https://h.example/a/m", false),
            ("https://h.example/b", false),
            ("https://evil.example/a/mcp", false),
            ("http://h.example/a/mcp", false),
            ("https://h.example:8443/a/mcp", false),
            ("h.example", false),
        ] {
            assert_eq!(is_ours(&url, resource), expected, "{resource}");
        }
    }

    /// ahead-tools/29.
    #[test]
    fn an_issuer_with_a_path_is_looked_for_in_every_place() {
        let places = places(&Url::parse("https://h.example/auth/v1").unwrap());
        let places: Vec<&str> = places.iter().map(Url::path).collect();
        assert_eq!(
            places,
            [
                "/.well-known/oauth-authorization-server/auth/v1",
                "/.well-known/openid-configuration/auth/v1",
                "/auth/v1/.well-known/openid-configuration",
            ]
        );
    }
}
