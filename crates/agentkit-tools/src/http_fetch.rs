//! `http_fetch`: reads the content of a URL.

use std::{collections::BTreeMap, sync::Arc};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    http::{Client, Outgoing, Settings, headers_schema, parse_headers, parse_url},
    quota::Quota,
    workspace::file_path,
};

pub(crate) struct HttpFetch {
    spec: ToolSpec,
    client: Client,
    quota: Arc<Quota>,
}

#[derive(Deserialize)]
struct Arguments {
    url: String,
    #[serde(default)]
    method: Verb,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    max_bytes: Option<u64>,
    #[serde(default)]
    raw: bool,
    save_as: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "UPPERCASE")]
enum Verb {
    #[default]
    Get,
    Head,
}

impl HttpFetch {
    pub(crate) fn new(settings: &Settings, quota: &Arc<Quota>) -> Self {
        let description = "Reads what is behind an http or https URL with GET or HEAD, following \
            redirects. Text comes as `text`, HTML as readable text unless `raw`, anything else as \
            `base64`; with `save_as` it goes to a file. A status of 400 or more is a result too.";
        let max_bytes = settings.max_bytes;
        let schema = json!({
            "type": "object",
            "properties": {
                "url": {"type": "string", "description": "For instance https://example.com/a?b=c"},
                "method": {"enum": ["GET", "HEAD"], "description": "GET"},
                "headers": headers_schema(),
                "max_bytes": {
                    "type": "integer", "minimum": 1, "maximum": max_bytes,
                    "description": format!("The most bytes of the body to read; {max_bytes}"),
                },
                "raw": {"type": "boolean", "description": "HTML with its tags; false"},
                "save_as": {
                    "type": "string",
                    "description": "Writes the body to this file of the workspace instead",
                },
            },
            "required": ["url"],
            "additionalProperties": false,
        });
        // GET and HEAD ask for nothing to be changed (RFC 9110, 9.2.1), so they may be sent again, and
        // a file is written as a whole.
        let spec = ToolSpec::new("http_fetch", description, schema)
            .effect(Effect::Idempotent)
            .timeout(settings.timeout);
        let client = Client::new(settings);
        let quota = Arc::clone(quota);
        Self {
            spec,
            client,
            quota,
        }
    }
}

impl Tool for HttpFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        let place = Resource::url(crate::text(arguments, "url"));
        let file = arguments.get("save_as").and_then(Value::as_str);
        Resources::reads([place]).and_writes(file.map(Resource::file))
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let given = arguments.clone();
            let arguments: Arguments = crate::arguments(arguments)?;
            let save_as = arguments.save_as.as_deref().map(file_path).transpose()?;
            if save_as.is_some() && matches!(arguments.method, Verb::Head) {
                let message = "HEAD brings no body, so there is nothing to save: leave `save_as` out, or \
                               use GET";
                return Err(Failure::last("invalid_arguments", message));
            }
            let max_bytes = self.client.limit(arguments.max_bytes);
            let outgoing = Outgoing {
                method: match arguments.method {
                    Verb::Get => Method::GET,
                    Verb::Head => Method::HEAD,
                },
                url: parse_url(&arguments.url)?,
                headers: parse_headers(arguments.headers)?,
                body: Bytes::new(),
                max_bytes,
                until: self.client.until(),
            };
            // What the policy said of the URL, it has not said of where that leads.
            let may_go = |next: &Url| {
                let mut arguments = given.clone();
                arguments["url"] = next.as_str().into();
                context.policy.check(arguments)
            };
            let answer = self
                .client
                .follow(outgoing, may_go)
                .await
                .map_err(|error| error.failure(context.effect))?;
            match save_as {
                Some(path) if answer.is_final() => {
                    let has_limit = arguments.max_bytes.is_some();
                    let quota = &self.quota;
                    answer
                        .saved(context, path, max_bytes, has_limit, quota)
                        .await
                }
                Some(_) | None => answer
                    .shown(arguments.raw, max_bytes)
                    .await
                    .map(ToolOutput::from),
            }
        })
    }
}
