//! The files of a cassette: one for each request, named by its digest.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CassetteError, ModelError, ModelErrorKind, Redactor, Response, difference};
use crate::tool::canonical_digest;

/// How much of a digest a file's name has.
const NAMED: usize = 32;

#[derive(Debug)]
pub(super) struct Tape {
    folder: PathBuf,
    exchanges: Mutex<HashMap<String, Position>>,
}

/// An exchange, and how many of its answers were given.
#[derive(Debug)]
struct Position {
    exchange: Exchange,
    given: usize,
}

/// A request and what was answered to it, in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Exchange {
    v: u16,
    request: Value,
    answers: Vec<Answer>,
}

/// What a model answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Response(Response),
    Error {
        kind: ModelErrorKind,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        #[serde(default)]
        maybe_charged: bool,
    },
}

impl From<&Result<Response, ModelError>> for Answer {
    fn from(answer: &Result<Response, ModelError>) -> Self {
        match answer {
            Ok(response) => Self::Response(response.clone()),
            Err(error) => Self::Error {
                kind: error.kind,
                message: error.message.clone(),
                status: error.status,
                retry_after_ms: error
                    .retry_after
                    .and_then(|delay| u64::try_from(delay.as_millis()).ok()),
                maybe_charged: error.maybe_charged,
            },
        }
    }
}

impl From<Answer> for Result<Response, ModelError> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Response(response) => Ok(response),
            Answer::Error {
                kind,
                message,
                status,
                retry_after_ms,
                maybe_charged,
            } => Err(ModelError {
                status,
                retry_after: retry_after_ms.map(Duration::from_millis),
                maybe_charged,
                ..ModelError::new(kind, message)
            }),
        }
    }
}

impl Answer {
    pub(super) fn redact(&mut self, redactor: &Redactor) {
        match self {
            Self::Response(response) => {
                response.content = redactor.text(&response.content);
                for call in &mut response.calls {
                    call.arguments = redactor.text(&call.arguments);
                }
                if let Some(parts) = &mut response.parts {
                    redactor.value(parts);
                }
            }
            Self::Error { message, .. } => *message = redactor.text(message),
        }
    }
}

impl Tape {
    /// A folder to record into, with the exchanges that it already holds.
    pub(super) fn continued(folder: PathBuf) -> Result<Self, CassetteError> {
        fs::create_dir_all(&folder).map_err(|source| unusable(&folder, source))?;
        Self::load(folder)
    }

    pub(super) fn load(folder: PathBuf) -> Result<Self, CassetteError> {
        let unreadable = |source| unusable(&folder, source);
        let mut exchanges = HashMap::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            let text = fs::read(&path).map_err(|source| unusable(&path, source))?;
            let exchange: Exchange = serde_json::from_slice(&text)
                .map_err(|source| CassetteError::Exchange { path, source })?;
            let digest = canonical_digest(&exchange.request);
            exchanges.insert(digest, Position { exchange, given: 0 });
        }
        Ok(Self {
            folder,
            exchanges: Mutex::new(exchanges),
        })
    }

    /// Keeps an answer; the file is whole at any time.
    pub(super) fn keep(&self, request: Value, answer: Answer) -> Result<(), CassetteError> {
        let digest = canonical_digest(&request);
        let path = self.folder.join(format!("{}.json", &digest[..NAMED]));
        let mut exchanges = self.exchanges();
        let position = exchanges.entry(digest).or_insert_with(|| Position {
            exchange: Exchange {
                v: 1,
                request,
                answers: Vec::new(),
            },
            given: 0,
        });
        position.exchange.answers.push(answer);
        let mut text = serde_json::to_vec_pretty(&position.exchange)
            .expect("an exchange has string keys and finite numbers");
        text.push(b'\n');
        let fresh = path.with_extension("new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(|source| unusable(&path, source))
    }

    /// The next answer to a request.
    pub(super) fn play(&self, request: &Value) -> Option<Answer> {
        let mut exchanges = self.exchanges();
        let position = exchanges.get_mut(&canonical_digest(request))?;
        let answers = &position.exchange.answers;
        let answer = answers.get(position.given).or_else(|| answers.last());
        let answer = answer.cloned();
        position.given += 1;
        answer
    }

    /// Says in what a request differs from the recorded one that is most like it.
    pub(super) fn miss(&self, request: &Value) -> ModelError {
        let exchanges = self.exchanges();
        let recorded = exchanges
            .values()
            .map(|position| &position.exchange.request);
        let what = match difference::nearest(request, recorded) {
            Some(differences) => {
                format!(
                    "the one that is most like it differs in {}",
                    differences.join("; ")
                )
            }
            None => "it is empty".to_owned(),
        };
        let message = format!(
            "the cassette {} has no answer to this request of `{}`: {what}. Record it again, or undo \
             the change",
            self.folder.display(),
            request["model"].as_str().unwrap_or_default(),
        );
        ModelError::new(ModelErrorKind::InvalidRequest, message)
    }

    fn exchanges(&self) -> MutexGuard<'_, HashMap<String, Position>> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn unusable(path: &Path, source: std::io::Error) -> CassetteError {
    CassetteError::Folder {
        path: path.to_path_buf(),
        source,
    }
}
