//! `http_request`: sends a request to a URL.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::{CallKey, Failure, Seen},
    tool::{Effect, Probe, Resource, Resources, ToolContext, ToolOutput},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http::{
        Client, Outgoing, SendError, Settings, Writes, headers_schema, parse_headers, parse_url,
    },
    http_fetch::HttpFetch,
    quota::Quota,
};

/// With it a server knows a request that is sent again (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(crate) struct HttpRequest {
    spec: ToolSpec,
    client: Client,
    writes: Writes,
    /// Looks whether a request took effect.
    fetch: Arc<HttpFetch>,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Arguments {
    url: String,
    method: Verb,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "present")]
    json: Option<Value>,
    body: Option<String>,
    max_bytes: Option<u64>,
    #[serde(default)]
    raw: bool,
}

/// `null` is a JSON body like any other.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verb {
    Post,
    Put,
    Patch,
    Delete,
}

impl HttpRequest {
    pub(crate) fn new(settings: &Settings, quota: &Arc<Quota>) -> Self {
        let description = "Sends a POST, PUT, PATCH or DELETE to an http or https URL, with a body \
            as `json` or as text in `body`. A redirect is not followed but shown. A status of 400 \
            or more is a result too.";
        let max_bytes = settings.max_bytes;
        let schema = json!({
            "type": "object",
            "properties": {
                "url": {"type": "string", "description": "For instance https://example.com/a?b=c"},
                "method": {"enum": ["POST", "PUT", "PATCH", "DELETE"]},
                "headers": headers_schema(),
                "json": {"description": "Sent as application/json"},
                "body": {
                    "type": "string",
                    "description": "Sent as it is; text/plain unless a header says otherwise",
                },
                "max_bytes": {
                    "type": "integer", "minimum": 1, "maximum": max_bytes,
                    "description": format!("The most bytes of the answer to read; {max_bytes}"),
                },
                "raw": {"type": "boolean", "description": "HTML with its tags; false"},
            },
            "required": ["url", "method"],
            "additionalProperties": false,
        });
        // Nobody but the server knows what a second one does. PUT and DELETE should do no more than
        // the first (RFC 9110, 9.2.2), but that is a hint from a party that is not trusted.
        let spec = ToolSpec::new("http_request", description, schema)
            .effect(Effect::Write)
            .timeout(settings.timeout)
            .settles(settings.writes.iter().map(|rule| rule.summary()).collect());
        Self {
            spec,
            client: Client::new(settings),
            writes: Writes(settings.writes.clone()),
            fetch: Arc::new(HttpFetch::new(settings, quota)),
            timeout: settings.timeout,
        }
    }
}

impl Tool for HttpRequest {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self, arguments: &Value) -> Effect {
        self.writes.effect(arguments)
    }

    fn probe(&self, arguments: &Value, key: &CallKey) -> Option<Probe> {
        let (rule, mut input) = self.writes.probe(arguments, key.as_str())?;
        let max_bytes = input.get("max_bytes").and_then(Value::as_u64);
        input["max_bytes"] = self.client.limit(max_bytes).into();
        Some(Probe {
            tool: Arc::clone(&self.fetch) as _,
            input,
            settle: rule.settle.unwrap_or(self.timeout),
            not_done: rule.on_not_done.into(),
        })
    }

    fn probed(&self, arguments: &Value, result: &Value) -> Seen {
        self.writes.probed(arguments, result)
    }

    fn resources(&self, arguments: &Value) -> Resources {
        let place = || [Resource::url(crate::text(arguments, "url"))];
        Resources::reads(place()).and_writes(place())
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let arguments: Arguments = crate::arguments(arguments)?;
            let mut headers = parse_headers(arguments.headers)?;
            if let Ok(key) = HeaderValue::from_str(context.key.as_str()) {
                headers.entry(IDEMPOTENCY_KEY).or_insert(key);
            }
            let body = body(arguments.json, arguments.body, &mut headers)?;
            let max_bytes = self.client.limit(arguments.max_bytes);
            let outgoing = Outgoing {
                method: match arguments.method {
                    Verb::Post => Method::POST,
                    Verb::Put => Method::PUT,
                    Verb::Patch => Method::PATCH,
                    Verb::Delete => Method::DELETE,
                },
                url: parse_url(&arguments.url)?,
                headers,
                body,
                max_bytes,
                until: self.client.until(),
            };
            // A redirect is not followed: it would send the body, or a part of the request, to a
            // place that the model did not name.
            let answer = self.client.send(&outgoing).await;
            let answer = answer.map_err(|error| error.failure(context.effect))?;
            if let Some(doubt) = answer.doubt() {
                return Err(SendError::After(doubt).failure(context.effect));
            }
            let shown = answer.shown(arguments.raw, max_bytes).await;
            shown.map(ToolOutput::from)
        })
    }
}

/// The body, whose type becomes a header unless there is one.
fn body(
    json: Option<Value>,
    text: Option<String>,
    headers: &mut HeaderMap,
) -> Result<Bytes, Failure> {
    let (body, media_type) = match (json, text) {
        (Some(_), Some(_)) => {
            let message = "give `json` or `body`, not both";
            return Err(Failure::last("invalid_arguments", message));
        }
        (Some(json), None) => (json.to_string(), "application/json"),
        (None, Some(text)) => (text, "text/plain; charset=utf-8"),
        (None, None) => return Ok(Bytes::new()),
    };
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static(media_type));
    Ok(body.into())
}
