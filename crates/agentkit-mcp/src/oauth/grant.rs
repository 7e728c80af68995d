//! Clients, and the exchange of a code for a token (RFC 6749, 7591, 7636, 8707, 9207).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::Url;

use super::{
    Oauth, body,
    discovery::{Issuer, Protected},
    tokens::Grant,
};
use crate::text::shown;

/// Why there is no token.
pub(super) enum TokenError {
    /// The authorization server says no, with this code.
    Refused(String),
    /// The grant did not get so far.
    Failed(String),
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Client {
    id: String,
    secret: Option<String>,
    /// `client_secret_basic`, `client_secret_post` or `none`.
    method: String,
}

impl Client {
    pub(super) fn of(grant: &Grant) -> Self {
        Self {
            id: grant.client_id.clone(),
            secret: grant.client_secret.clone(),
            method: grant.auth_method.clone(),
        }
    }

    /// The client as it is known there: by hand, by a document, or registered now.
    pub(super) async fn register(
        oauth: &Oauth,
        issuer: &Issuer,
        redirect: &str,
    ) -> Result<Self, String> {
        let supports = |method: &str| issuer.methods.iter().any(|one| one == method);
        let with_secret = || match issuer.methods.is_empty() || supports("client_secret_basic") {
            true => "client_secret_basic",
            false => "client_secret_post",
        };
        if let Some(id) = &oauth.config.client_id {
            let secret = oauth.config.client_secret.clone();
            let method = if secret.is_some() {
                with_secret()
            } else {
                "none"
            };
            return Ok(Self {
                id: id.clone(),
                secret,
                method: method.to_owned(),
            });
        }
        if let Some(document) = oauth
            .config
            .client_metadata_url
            .as_ref()
            .filter(|_| issuer.takes_documents)
        {
            return Ok(Self {
                id: document.clone(),
                secret: None,
                method: "none".to_owned(),
            });
        }
        let Some(endpoint) = &issuer.register else {
            return Err(format!(
                "the authorization server `{}` registers no clients by itself; register one by hand, and set \
                 `oauth: {{client_id, client_secret}}`",
                issuer.issuer
            ));
        };
        // Without a list, the older default of the standard.
        let method = if supports("none") {
            "none"
        } else {
            with_secret()
        };
        let request = json!({
            "client_name": "Opspawn",
            "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "application_type": "native",
            "token_endpoint_auth_method": method,
        });
        let sent = oauth
            .client(endpoint)?
            .post(endpoint.clone())
            .json(&request)
            .send()
            .await;
        let response = sent.map_err(|error| format!("the client cannot be registered: {error}"))?;
        let status = response.status();
        let answer: Value = serde_json::from_slice(&body(response).await?).unwrap_or_default();
        let id = answer["client_id"].as_str().filter(|_| status.is_success());
        let id = id.ok_or_else(|| {
            format!(
                "the client was not registered: {status} {}",
                shown(&answer.to_string(), 300)
            )
        })?;
        let secret = answer["client_secret"].as_str().map(str::to_owned);
        let method = match (answer["token_endpoint_auth_method"].as_str(), &secret) {
            (Some(method), _) => method.to_owned(),
            (None, None) => "none".to_owned(),
            (None, Some(_)) if method != "none" => method.to_owned(),
            (None, Some(_)) => with_secret().to_owned(),
        };
        Ok(Self {
            id: id.to_owned(),
            secret,
            method,
        })
    }

    /// Asks the token endpoint.
    pub(super) async fn token(
        &self,
        oauth: &Oauth,
        endpoint: &Url,
        mut form: Vec<(&'static str, String)>,
    ) -> Result<Value, TokenError> {
        let client = oauth.client(endpoint).map_err(TokenError::Failed)?;
        let mut request = client
            .post(endpoint.clone())
            .header("accept", "application/json");
        match (self.method.as_str(), &self.secret) {
            ("client_secret_basic", Some(secret)) => {
                let encode = |text: &str| {
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                request = request.basic_auth(encode(&self.id), Some(encode(secret)));
            }
            ("client_secret_post", Some(secret)) => {
                form.push(("client_id", self.id.clone()));
                form.push(("client_secret", secret.clone()));
            }
            _ => form.push(("client_id", self.id.clone())),
        }
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let response = request.send().await;
        let response =
            response.map_err(|error| TokenError::Failed(format!("no token came: {error}")))?;
        let status = response.status();
        let answer = body(response).await.map_err(TokenError::Failed)?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() && answer["access_token"].is_string() {
            return Ok(answer);
        }
        match answer["error"].as_str() {
            Some(code) => Err(TokenError::Refused(shown(code, 100))),
            None => Err(TokenError::Failed(format!(
                "the token endpoint answered {status} without a token"
            ))),
        }
    }
}

/// One authorization by a person.
pub(super) struct Flow<'a> {
    pub(super) oauth: &'a Oauth,
    pub(super) issuer: &'a Issuer,
    pub(super) protected: &'a Protected,
    pub(super) redirect: &'a str,
}

impl Flow<'_> {
    pub(super) async fn run(
        &self,
        client: &Client,
        scopes: &[String],
    ) -> Result<Grant, TokenError> {
        let verifier = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let state = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let challenge = challenge(&verifier);
        let mut page = self.issuer.authorize.clone();
        page.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", self.redirect)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &state)
            .append_pair("resource", &self.protected.resource);
        if !scopes.is_empty() {
            page.query_pairs_mut()
                .append_pair("scope", &scopes.join(" "));
        }
        let back = self
            .oauth
            .browser
            .authorize(&page)
            .await
            .map_err(TokenError::Failed)?;
        let code = self.code(&back, &state)?;
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", self.redirect.to_owned()),
            ("code_verifier", verifier),
            ("resource", self.protected.resource.clone()),
        ];
        let answer = client.token(self.oauth, &self.issuer.token, form).await?;
        let mut grant = Grant {
            issuer: self.issuer.issuer.clone(),
            resource: self.protected.resource.clone(),
            token_endpoint: self.issuer.token.to_string(),
            redirect_uri: self.redirect.to_owned(),
            client_id: client.id.clone(),
            client_secret: client.secret.clone(),
            auth_method: client.method.clone(),
            scope: None,
            access_token: None,
            refresh_token: None,
        };
        grant.take(&answer);
        Ok(grant)
    }

    /// The code in the address that the person came back to, if it is an answer to this question and of this
    /// issuer.
    fn code(&self, back: &Url, state: &str) -> Result<String, TokenError> {
        let find = |name: &str| {
            let mut pairs = back.query_pairs();
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let failed = |why: &str| TokenError::Failed(format!("the authorization failed: {why}"));
        if find("state").as_deref() != Some(state) {
            return Err(failed("the answer is to another question (`state`)"));
        }
        match find("iss") {
            Some(issuer) if issuer != self.issuer.issuer => {
                return Err(failed(&format!(
                    "the answer is of another issuer, `{}`",
                    shown(&issuer, 200)
                )));
            }
            None if self.issuer.names_itself => {
                return Err(failed("the answer does not say who its issuer is (`iss`)"));
            }
            Some(_) | None => {}
        }
        if let Some(code) = find("error") {
            return Err(TokenError::Refused(shown(&code, 100)));
        }
        find("code").ok_or_else(|| failed("the answer has no code"))
    }
}

/// The challenge of a verifier: base64url of its SHA-256.
fn challenge(verifier: &str) -> String {
    let digest = agentkit::tool::digest_hex(verifier.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(units::hex::decode(&digest).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_standard() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
