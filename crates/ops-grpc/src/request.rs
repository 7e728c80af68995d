//! The request of an operation, of the fields of a message.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{
    decode::Fault,
    methods::{Location, Method, Operation},
};

/// Bytes that need no escape within a path or a value of a query string.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Metadata that goes to the routes.
const PASSED: [&str; 3] = ["x-request-id", "x-agentkit-tool", "origin"];

/// A field of a message that has another name than the parameter of its operation, as the body has a field of that
/// name too.
const RENAMED: [(&str, &str, &str); 1] = [("ApproveMcpDefinitionRequest", "name", "server")];

/// The request of a method's operation.
///
/// # Errors
/// A fault if a field cannot stand where the operation has it.
pub(crate) fn request(
    method: &Method,
    headers: &HeaderMap,
    host: Option<HeaderValue>,
    mut fields: Vec<(String, String)>,
) -> Result<Request<Bytes>, Fault> {
    let Operation {
        method: verb,
        path,
        parameters,
        has_body,
    } = &method.operation;
    let mut path = path.clone();
    let mut query = String::new();
    let mut request = Request::new(Bytes::new());
    for (parameter, place) in parameters {
        let name = field_of(method, parameter, *place);
        let at = fields.iter().position(|(field, _)| *field == name);
        let value = at.map(|at| fields.remove(at).1);
        match place {
            Location::Path => {
                let value = value.map(|value| plain(&value)).unwrap_or_default();
                if value.is_empty() {
                    return Err(fault(&name, "is missing"));
                }
                let value = utf8_percent_encode(&value, ESCAPED).to_string();
                // A path has no names for the folder itself and the one above.
                let value = match value.as_str() {
                    "." => "%2E".to_owned(),
                    ".." => "%2E%2E".to_owned(),
                    _ => value,
                };
                path = path.replace(&format!("{{{parameter}}}"), &value);
            }
            Location::Query => {
                for value in value.iter().flat_map(|value| many(value)) {
                    let start = if query.is_empty() { '?' } else { '&' };
                    let value = utf8_percent_encode(&value, ESCAPED).to_string();
                    query.push_str(&format!("{start}{parameter}={value}"));
                }
            }
            Location::Header => {
                let Some(value) = value else { continue };
                let value = quoted(&name, plain(&value));
                let value = HeaderValue::try_from(value)
                    .map_err(|_| fault(&name, "must be visible ASCII"))?;
                let name: http::HeaderName = parameter
                    .parse()
                    .map_err(|_| fault(&name, "is no header"))?;
                request.headers_mut().insert(name, value);
            }
        }
    }
    let headers_out = request.headers_mut();
    for name in PASSED {
        for value in headers.get_all(name) {
            headers_out.append(name, value.clone());
        }
    }
    if let Some(host) = host {
        headers_out.insert(header::HOST, host);
    }
    if *has_body {
        let members = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"));
        let body = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        *request.body_mut() = body.into();
    }
    *request.method_mut() = verb.clone();
    let target = format!("{path}{query}");
    *request.uri_mut() = target
        .parse()
        .map_err(|_| fault("", "is too long for a request"))?;
    Ok(request)
}

/// The field of a parameter.
pub(crate) fn field_of(method: &Method, parameter: &str, place: Location) -> String {
    let kind = method.input.name();
    let renamed = RENAMED.iter().find(|(message, from, _)| {
        *message == kind && *from == parameter && place == Location::Path
    });
    match (renamed, place) {
        (Some((_, _, to)), _) => (*to).to_owned(),
        (None, Location::Header) => parameter.to_ascii_lowercase().replace('-', "_"),
        (None, Location::Path | Location::Query) => parameter.to_owned(),
    }
}

fn fault(name: &str, message: &str) -> Fault {
    Fault {
        path: vec![name.to_owned()],
        message: message.to_owned(),
        too_large: false,
    }
}

/// A JSON value as the text of a parameter.
fn plain(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        _ => json.to_owned(),
    }
}

/// The values of a parameter that may be given more than once.
fn many(json: &str) -> Vec<String> {
    match serde_json::from_str(json) {
        Ok(Value::Array(values)) => values
            .iter()
            .map(|value| plain(&value.to_string()))
            .collect(),
        _ => vec![plain(json)],
    }
}

/// Validators stand in quotes.
fn quoted(name: &str, value: String) -> String {
    let bare = value != "*" && !value.starts_with('"') && !value.starts_with("W/");
    match name.starts_with("if_") && bare {
        true => format!("\"{value}\""),
        false => value,
    }
}
