//! Digest of a request with a key: requests of the same meaning have the same digest, through whichever
//! surface they came.

use std::{collections::BTreeMap, io};

use ops_core::{Json, Micros, TaskId, json::canonical, task::TaskLimits};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{DEFAULT_QUEUE, RetryRequest, Submit};
use crate::Rerun;

/// Names the form that [`of_submit`] gives a request. Another form has another name, and the digests of
/// this form become the former digests.
const FORM: &[u8] = b"opspawn/submit/1\n";
/// There is one way to redrive a dead letter.
pub(super) const OF_REDRIVE: [u8; 32] = [0; 32];

/// A client's key of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// The key.
    pub key: String,
    /// The digest of the same request by the rules of an older release. A task that it made under this
    /// key is found by it.
    pub former: Option<[u8; 32]>,
}

/// The digest of a submit: of the request's meaning, and not of its spelling. A default value equals a
/// missing value.
pub(super) fn of_submit(submit: &Submit) -> [u8; 32] {
    #[derive(Serialize)]
    struct Terms<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        concurrency_key: Option<&'a str>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        labels: &'a BTreeMap<String, String>,
        #[serde(skip_serializing_if = "is_default")]
        limits: TaskLimits,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "is_default")]
        priority: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<&'a str>,
        #[serde(skip_serializing_if = "is_default")]
        retry: RetryRequest,
        #[serde(skip_serializing_if = "Option::is_none")]
        run_at: Option<Micros>,
        task_type: &'a str,
    }
    let Submit {
        task_type,
        input,
        name,
        agent_id,
        priority,
        labels,
        limits,
        retry,
        run_at,
        key: _,
        concurrency_key,
        queue,
        // No client's submit has one.
        jitter_micros: _,
    } = submit;
    let terms = Terms {
        agent_id: agent_id.as_deref(),
        concurrency_key: concurrency_key.as_deref(),
        labels,
        limits: *limits,
        name: name.as_deref(),
        priority: *priority,
        queue: Some(queue.as_str()).filter(|queue| *queue != DEFAULT_QUEUE),
        retry: retry.unwrap_or_default(),
        run_at: *run_at,
        task_type,
    };
    let mut hash = Hash::default();
    hash.bytes(FORM);
    hash.value(&terms);
    hash.bytes(b"\n");
    hash.json(input.as_str());
    hash.finish()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The digest of a request to do a task again.
pub(crate) fn of_retry(task: TaskId) -> [u8; 32] {
    about(task, r#"{"retry":true}"#)
}

/// The digest of a request to do a task again from a step.
pub(crate) fn of_rerun(task: TaskId, rerun: &Rerun) -> [u8; 32] {
    #[derive(Serialize)]
    struct Terms<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        from_step: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<&'a serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        input_data: Option<&'a Json>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
    }
    let Rerun {
        from_step,
        input,
        message,
        input_data,
        key: _,
    } = rerun;
    let terms = Terms {
        from_step: *from_step,
        input: input.as_ref(),
        input_data: input_data.as_ref(),
        message: message.as_deref(),
    };
    let terms = serde_json::to_string(&terms).expect("terms have string keys only");
    about(task, &terms)
}

/// A request about another task is another request.
fn about(task: TaskId, terms: &str) -> [u8; 32] {
    let mut of_terms = Hash::default();
    of_terms.json(terms);
    let mut hash = Hash::default();
    hash.bytes(task.as_bytes());
    hash.bytes(&of_terms.finish());
    hash.finish()
}

/// A hash that is written to in small pieces.
#[derive(Default)]
struct Hash(Writer);

#[derive(Default)]
struct Writer(Sha256);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hash {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.0.update(bytes);
    }

    fn value(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.0, value)
            .expect("string keys only, and a hash takes any bytes");
    }

    /// JSON in its canonical form.
    fn json(&mut self, text: &str) {
        let mut buffered = io::BufWriter::new(&mut self.0);
        canonical(&mut buffered, text, &|_, _| true)
            .and_then(|()| io::Write::flush(&mut buffered).map_err(serde_json::Error::io))
            .expect("the text is JSON, and a hash takes any bytes");
    }

    fn finish(self) -> [u8; 32] {
        self.0.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn submit(input: &str) -> Submit {
        Submit::new("agent_run".into(), Json::parse(input).unwrap())
    }

    fn hex(digest: [u8; 32]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let one = of_submit(&submit(r#"{"x":1,"y":2}"#));
        assert_eq!(of_submit(&submit(r#" { "y": 2, "\u0078": 1 } "#)), one);
        let keyed = Submit {
            key: Some(ClientKey {
                key: "k".into(),
                former: Some([1; 32]),
            }),
            retry: Some(RetryRequest::default()),
            ..submit(r#"{"x":1,"y":2}"#)
        };
        assert_eq!(of_submit(&keyed), one);
    }

    #[test]
    fn each_part_counts() {
        let base = submit("{}");
        let with = |change: fn(&mut Submit)| {
            let mut other = base.clone();
            change(&mut other);
            of_submit(&other)
        };
        let mut digests = vec![
            of_submit(&base),
            with(|s| s.task_type = "echo".into()),
            with(|s| s.input = Json::parse(r#"{"z":null}"#).unwrap()),
            with(|s| s.name = Some("n".into())),
            with(|s| s.agent_id = Some("n".into())),
            with(|s| s.concurrency_key = Some("n".into())),
            with(|s| s.priority = 1),
            with(|s| drop(s.labels.insert("n".into(), "n".into()))),
            with(|s| s.limits.max_steps = Some(1)),
            with(|s| s.limits.queue_timeout_micros = Some(1)),
            with(|s| s.retry.get_or_insert_default().max_attempts = Some(1)),
            with(|s| s.run_at = Some(Micros(1))),
            with(|s| s.queue = "n".into()),
        ];
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    /// Digests that stand in databases, made by other means: another release must find the same tasks. The
    /// digests of retries and reruns are as old as their keys.
    #[test]
    fn digests_stay_as_they_are() {
        let whole = Submit {
            name: Some("n\n".into()),
            priority: 3,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            run_at: Some(Micros(5)),
            retry: Some(RetryRequest {
                max_attempts: Some(2),
                ..RetryRequest::default()
            }),
            queue: "q".into(),
            ..submit(r#"{"b":1.50,"a":["x"]}"#)
        };
        assert_eq!(
            hex(of_submit(&whole)),
            "03f7432feb9af0075755c7e423a974e0775b05d0aff682209818cdfb4f81ae2f"
        );
        let task = TaskId::new(Micros(1), [7; 10]);
        assert_eq!(
            hex(of_retry(task)),
            "dc9de7201cb32c87566625f1a65468d0508a0700a82b58bd8b78113a1a620786"
        );
        let rerun = Rerun {
            from_step: Some(3),
            input: Some(json!({"b": [1.5], "a": "é"})),
            message: Some("m".into()),
            ..Rerun::default()
        };
        assert_eq!(
            hex(of_rerun(task, &rerun)),
            "df06f7be3dc1dac031c25a93053c42b7f307d65fdb3e8529b72792b0809e468d"
        );
        let rerun = Rerun {
            input_data: Some(Json::parse(r#"{ "b":1.50 ,"a":2}"#).unwrap()),
            ..Rerun::default()
        };
        assert_eq!(
            hex(of_rerun(task, &rerun)),
            "975a8af539f535b038ae9e8a251916b4a492128357bde178848395609d35a4a2"
        );
        assert_eq!(
            hex(of_rerun(task, &Rerun::default())),
            "4c53e8142c048873109d452b1135dff5985b794583e0324d01d465f9b189dba7"
        );
    }
}
