//! Cassettes: what a model was asked and what it answered, kept in a folder and played again.
//!
//! ```no_run
//! # use std::sync::Arc;
//! use agentkit::{Model, model::cassette::{Cassette, Redactor}};
//!
//! # fn both(model: Arc<dyn Model>) -> Result<(), agentkit::model::cassette::CassetteError> {
//! let redactor = Redactor::new([r"customer-\d+"])?;
//! let recording = Cassette::record("cassettes", redactor.clone())?.model(model);
//! let replaying = Cassette::replay("cassettes", redactor)?.player("openai/gpt-5", None);
//! # Ok(())
//! # }
//! ```
//!
//! An exchange is found by the SHA-256 of its request as RFC 8785 JSON, after redaction. Keys and what
//! the configured patterns match never reach the disk. A request that was made several times has
//! several answers, which are given in their order; the last one again and again. A request that was
//! never made is an error that shows in what it differs from the one that is most like it.

mod difference;
mod redact;
mod tape;

use std::{path::PathBuf, sync::Arc};

use serde_json::{Value, json};

pub(crate) use self::redact::KEYS;
pub use self::redact::Redactor;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::tape::fuzzing;
use self::tape::{Answer, Tape};
use super::{DeltaSink, Model, ModelError, ModelErrorKind, ModelInfo, Request, Response};
use crate::{BoxFuture, tool::ToolSpec};

/// A folder of exchanges. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Cassette {
    tape: Arc<Tape>,
    redactor: Redactor,
}

/// A cassette that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassetteError {
    /// Its folder cannot be read or written.
    #[error("the cassette {} cannot be used", .path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file in it is no exchange.
    #[error("{} is no exchange of a cassette; delete it, and record it again", .path.display())]
    Exchange {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A pattern of what is redacted is not valid.
    #[error("the pattern `{pattern}` is not a regular expression")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
}

impl Cassette {
    /// A cassette to record on. The folder is made. What it holds stays: a request that was recorded before gets its new
    /// answer behind the older ones.
    ///
    /// # Errors
    /// If the folder cannot be made, or a file in it cannot be read.
    pub fn record(path: impl Into<PathBuf>, redactor: Redactor) -> Result<Self, CassetteError> {
        Ok(Self {
            tape: Arc::new(Tape::continued(path.into())?),
            redactor,
        })
    }

    /// A cassette to play.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be read.
    pub fn replay(path: impl Into<PathBuf>, redactor: Redactor) -> Result<Self, CassetteError> {
        Ok(Self {
            tape: Arc::new(Tape::load(path.into())?),
            redactor,
        })
    }

    /// The same model, recorded.
    #[must_use]
    pub fn model(&self, model: Arc<dyn Model>) -> Arc<dyn Model> {
        Arc::new(Recorded {
            cassette: self.clone(),
            model,
        })
    }

    /// A model of this name that answers what was recorded of it, and calls nobody.
    #[must_use]
    pub fn player(&self, name: &str, info: Option<ModelInfo>) -> Arc<dyn Model> {
        Arc::new(Player {
            cassette: self.clone(),
            name: name.to_owned(),
            info,
        })
    }

    /// A request as it is kept and found.
    fn request(&self, model: &str, request: &Request) -> Value {
        let tools = request.tools.iter().map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.input_schema,
            })
        });
        let schema = request.response_schema.as_ref();
        let mut kept = json!({
            "model": model,
            "messages": request.messages,
            "tools": tools.collect::<Vec<_>>(),
        });
        if let Some(tokens) = request.max_output_tokens {
            kept["max_output_tokens"] = tokens.into();
        }
        if let Some(temperature) = request.temperature {
            kept["temperature"] = temperature.into();
        }
        if let Some(schema) = schema {
            kept["response_schema"] = json!({"name": schema.name, "schema": schema.schema});
        }
        self.redactor.value(&mut kept);
        kept
    }
}

/// A model whose exchanges are kept.
struct Recorded {
    cassette: Cassette,
    model: Arc<dyn Model>,
}

impl Model for Recorded {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn is_llm(&self) -> bool {
        self.model.is_llm()
    }

    fn info(&self) -> Option<&ModelInfo> {
        self.model.info()
    }

    fn tools_left_out(&self, tools: &[Arc<ToolSpec>]) -> Vec<String> {
        self.model.tools_left_out(tools)
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(async move {
            let answer = self.model.call(request, deltas).await;
            let kept = self.cassette.request(self.model.name(), request);
            let mut answered = Answer::from(&answer);
            answered.redact(&self.cassette.redactor);
            self.cassette.tape.keep(kept, answered).map_err(|error| {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                let message = format!("{error}: {}", why.unwrap_or_default());
                ModelError::new(ModelErrorKind::InvalidRequest, message)
            })?;
            answer
        })
    }
}

/// A model that answers from a cassette.
struct Player {
    cassette: Cassette,
    name: String,
    info: Option<ModelInfo>,
}

impl Model for Player {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> Option<&ModelInfo> {
        self.info.as_ref()
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let kept = self.cassette.request(&self.name, request);
        let answer = match self.cassette.tape.play(&kept) {
            Some(answer) => answer.into(),
            None => Err(self.cassette.tape.miss(&kept)),
        };
        if let Ok(Response { content, .. }) = &answer
            && !content.is_empty()
        {
            deltas.text(content);
        }
        Box::pin(std::future::ready(answer))
    }
}

#[cfg(test)]
mod tests;
