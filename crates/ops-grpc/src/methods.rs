//! The methods of the services, and the operation of REST behind each.

use std::{collections::HashMap, sync::Arc};

use ops_proto::DESCRIPTORS;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::Value;

use crate::{decode::Unknown, names::snake};

/// The package of version 1.
const VERSION_1: &str = "ops_core.proto";
/// Methods that follow a log, by the operation that checks their request.
const FOLLOW: &str = "FollowTask";

/// Where a field of a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// Into the path.
    Path,
    /// Into the query string.
    Query,
    /// Into the header.
    Header,
}

/// An operation of REST.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) method: http::Method,
    /// The template of its path.
    pub(crate) path: String,
    /// Its parameters; other fields go into the body.
    pub(crate) parameters: Vec<(String, Location)>,
    /// Whether the operation takes a body.
    pub(crate) has_body: bool,
}

/// How a method answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The answer of the operation.
    Whole,
    /// The same as the only field of the message, `task`.
    Task,
    /// The same, cut where a client of version 1 would refuse the message.
    Cut,
    /// The bytes of the operation, as they come.
    Pieces,
    /// The log of a task.
    Log,
}

/// A method.
#[derive(Debug)]
pub(crate) struct Method {
    /// `package.Service/Method`.
    pub(crate) name: Arc<str>,
    pub(crate) input: MessageDescriptor,
    pub(crate) output: MessageDescriptor,
    pub(crate) operation: Operation,
    pub(crate) answer: Answer,
    pub(crate) unknown: Unknown,
}

/// Every method by its path.
#[derive(Debug)]
pub(crate) struct Methods(HashMap<String, Method>);

impl Methods {
    /// The methods over the operations of an OpenAPI document.
    ///
    /// # Errors
    /// The name of a method without an operation.
    pub(crate) fn new(document: &[u8]) -> Result<Self, String> {
        let document: Value =
            serde_json::from_slice(document).map_err(|error| error.to_string())?;
        let operations = operations(&document);
        let mut methods = HashMap::new();
        for service in descriptors().services() {
            for method in service.methods() {
                let name = format!("{}/{}", service.full_name(), method.name());
                let version_1 = service.package_name() == VERSION_1;
                let operation = match method.name() {
                    "CreateTask" => "submit_task".to_owned(),
                    FOLLOW => "list_events".to_owned(),
                    name => snake(name),
                };
                let operation = operations
                    .get(&operation)
                    .ok_or_else(|| format!("{name}: there is no operation `{operation}`"))?;
                let answer = match (version_1, method.is_server_streaming(), method.name()) {
                    (true, _, "ListTasks") => Answer::Cut,
                    (true, _, _) => Answer::Task,
                    (false, true, FOLLOW) => Answer::Log,
                    (false, true, _) => Answer::Pieces,
                    (false, false, _) => Answer::Whole,
                };
                let method = Method {
                    name: name.as_str().into(),
                    input: method.input(),
                    output: method.output(),
                    operation: operation.clone(),
                    answer,
                    unknown: match version_1 {
                        true => Unknown::Ignored,
                        false => Unknown::Refused,
                    },
                };
                methods.insert(format!("/{name}"), method);
            }
        }
        Ok(Self(methods))
    }

    /// The method of a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Method> {
        self.0.get(path)
    }
}

/// The messages and services.
pub(crate) fn descriptors() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).expect("the descriptors were compiled with this program")
}

/// The full names of the services.
pub(crate) fn services() -> Vec<String> {
    let pool = descriptors();
    let services = pool
        .services()
        .map(|service| service.full_name().to_owned());
    services.collect()
}

/// The operations of a document, by their ids.
fn operations(document: &Value) -> HashMap<String, Operation> {
    let mut found = HashMap::new();
    let paths = document["paths"].as_object().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let Some(id) = operation["operationId"].as_str() else {
                continue;
            };
            let Ok(method) = method.to_ascii_uppercase().parse() else {
                continue;
            };
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.filter_map(|parameter| {
                let place = match parameter["in"].as_str()? {
                    "path" => Location::Path,
                    "query" => Location::Query,
                    _ => Location::Header,
                };
                Some((parameter["name"].as_str()?.to_owned(), place))
            });
            let operation = Operation {
                method,
                path: path.clone(),
                parameters: parameters.collect(),
                has_body: operation.get("requestBody").is_some(),
            };
            found.insert(id.to_owned(), operation);
        }
    }
    found
}
