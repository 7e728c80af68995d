// What processes tell each other: queues that have work, sessions that are to stop something, and tasks whose logs
// have grown. A notification has 8,000 bytes, so many news are several notifications. Tasks beyond a bound are
// left out: whoever follows one looks at its log by itself now and then.

use std::collections::{BTreeMap, BTreeSet};

use ops_core::{
    SessionId, TaskId, TenantId,
    ports::{Hint, Notice},
    task::StateName,
};
use serde_json::{Value, json};

/// The most bytes of a notification: PostgreSQL takes less than 8,000.
const MESSAGE_BYTES: usize = 7_900;
/// The most tasks that wait to be told of.
const MAX_TASKS: usize = 1_000;

/// What others are to know.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct News {
    /// Queues that have work, and whether a worker was woken by other means.
    pub(crate) queues: BTreeMap<String, bool>,
    pub(crate) stops: BTreeSet<SessionId>,
    /// Tasks, each with its last event and its state.
    tasks: BTreeMap<(TenantId, TaskId), (u64, StateName)>,
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.stops.is_empty() && self.tasks.is_empty()
    }

    /// `rings`: whether a worker is woken by other means when a queue has work.
    pub(crate) fn add(
        &mut self,
        notices: &[Notice],
        stops: impl Iterator<Item = SessionId>,
        rings: impl Fn(&str) -> bool,
    ) {
        self.stops.extend(stops);
        for notice in notices {
            if let Some(queue) = &notice.ready
                && !self.queues.contains_key(&**queue)
            {
                self.queues.insert(queue.to_string(), rings(queue));
            }
            let hint = &notice.hint;
            let key = (hint.tenant, hint.task);
            if self.tasks.len() < MAX_TASKS || self.tasks.contains_key(&key) {
                self.tasks.insert(key, (hint.seq, hint.state));
            }
        }
    }

    /// For the followers of the tasks.
    pub(crate) fn hints(&self) -> impl Iterator<Item = Hint> {
        self.tasks
            .iter()
            .map(|((tenant, task), (seq, state))| Hint {
                tenant: *tenant,
                task: *task,
                seq: *seq,
                state: *state,
            })
    }

    /// As the texts of notifications: lists of entries in JSON. What needs an answer soonest comes first.
    pub(crate) fn into_messages(self) -> Vec<String> {
        let stops = self.stops.iter().map(|session| json!(["s", session]));
        let queues = self.queues.iter().map(|queue| match queue {
            (queue, false) => json!(["q", queue]),
            (queue, true) => json!(["r", queue]),
        });
        let tasks = self.hints().map(|hint| {
            let Hint {
                tenant,
                task,
                seq,
                state,
            } = hint;
            json!(["t", tenant, task, seq, state.as_str()])
        });
        let mut messages = vec![String::new()];
        for entry in stops.chain(queues).chain(tasks) {
            let entry = entry.to_string();
            // A name of a queue that no notification has room for.
            if entry.len() + 2 > MESSAGE_BYTES {
                continue;
            }
            if let Some(last) = messages.last_mut()
                && last.len() + entry.len() + 2 <= MESSAGE_BYTES
            {
                last.push(if last.is_empty() { '[' } else { ',' });
                last.push_str(&entry);
            } else {
                messages.push(format!("[{entry}"));
            }
        }
        messages.retain(|message| !message.is_empty());
        for message in &mut messages {
            message.push(']');
        }
        messages
    }

    /// Reads a notification. Entries of a kind that is not known are those of a newer release.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let entries: Vec<Vec<Value>> = serde_json::from_str(text).ok()?;
        let mut news = Self::default();
        for entry in entries {
            match entry.as_slice() {
                [Value::String(kind), Value::String(queue)] if kind == "q" => {
                    news.queues.insert(queue.clone(), false);
                }
                [Value::String(kind), Value::String(queue)] if kind == "r" => {
                    news.queues.entry(queue.clone()).or_insert(true);
                }
                [Value::String(kind), Value::String(session)] if kind == "s" => {
                    news.stops.extend(session.parse::<SessionId>());
                }
                [
                    Value::String(kind),
                    tenant,
                    Value::String(task),
                    seq,
                    Value::String(state),
                ] if kind == "t" => {
                    let tenant = tenant
                        .as_u64()
                        .and_then(|number| u32::try_from(number).ok());
                    let parsed = (
                        tenant,
                        task.parse(),
                        seq.as_u64(),
                        StateName::from_name(state),
                    );
                    if let (Some(tenant), Ok(task), Some(seq), Some(state)) = parsed {
                        news.tasks.insert((TenantId(tenant), task), (seq, state));
                    }
                }
                _ => {}
            }
        }
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ops_core::Micros;

    use super::*;

    fn notice(number: u8, queue: &str) -> Notice {
        Notice {
            hint: Hint {
                tenant: TenantId::DEFAULT,
                task: TaskId::new(Micros(i64::from(number)), [number; 10]),
                seq: u64::from(number),
                state: StateName::Pending,
            },
            ready: Some(Arc::from(queue)),
            due: None,
        }
    }

    #[test]
    fn news_are_read_as_they_were_told() {
        let session = SessionId::new(Micros(5), [1; 10]);
        let mut news = News::default();
        assert!(news.is_empty());
        let rings = |queue: &str| queue == "b";
        news.add(
            &[notice(1, "a\0\"é"), notice(2, "b")],
            [session].into_iter(),
            rings,
        );
        let again = {
            let mut news = News::default();
            news.add(
                &[notice(1, "a\0\"é"), notice(2, "b")],
                [session].into_iter(),
                rings,
            );
            news.into_messages()
        };
        assert_eq!(again.len(), 1);
        assert!(!again[0].contains('\0'), "no text of PostgreSQL has one");
        assert_eq!(News::read(&again[0]), Some(news));
    }

    #[test]
    fn no_notification_is_too_long_and_none_is_lost_below_the_bound() {
        let mut news = News::default();
        let long = "q".repeat(MESSAGE_BYTES);
        for number in 0..=255 {
            news.add(
                &[notice(number, &format!("queue-{number}"))],
                std::iter::empty(),
                |_| false,
            );
        }
        news.add(&[notice(0, &long)], std::iter::empty(), |_| false);
        let messages = news.into_messages();
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|text| text.len() <= MESSAGE_BYTES));
        let (mut queues, mut tasks) = (0, 0);
        for message in messages {
            let news = News::read(&message).unwrap();
            queues += news.queues.len();
            tasks += news.tasks.len();
        }
        assert_eq!((queues, tasks), (256, 256));
    }

    #[test]
    fn what_a_newer_release_tells_is_passed_over() {
        let news = News::read(r#"[["x",1],["q","default"],["t","?"],["s","nobody"]]"#).unwrap();
        assert_eq!(news.queues, [("default".to_owned(), false)].into());
        assert_eq!((news.stops.len(), news.tasks.len()), (0, 0));
        assert_eq!(News::read("{}"), None);
        assert!(News::read("[]").unwrap().is_empty());
    }
}
