//! Questions of servers of the older era, which are asked in the middle of a call and hold the call open.
//!
//! For the engine the call waits for a person then, as a call of the newer era does. Here it goes on as a task of its own,
//! and the call that is made with the answer finds it by its key. A process that ends takes the open call along.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentkit::{BoxFuture, event::Failure};
use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::Instant,
};

use crate::{link::Answers, server::Outcome};

/// Asks persons by way of the calls that are under way.
#[derive(Default)]
pub struct Questions {
    /// Questions that no call has taken, by server.
    asked: Mutex<HashMap<String, VecDeque<Question>>>,
    /// Rung when a question is asked.
    notifier: Notify,
    /// Calls that wait for an answer, by the key of the call.
    open: Mutex<HashMap<String, Open>>,
}

/// A question of a server.
pub(crate) struct Question {
    /// Parameters of `elicitation/create`.
    pub(crate) params: Value,
    answer: oneshot::Sender<Value>,
}

struct Open {
    calling: Calling,
    answer: oneshot::Sender<Value>,
    /// When nobody comes for it any more.
    until: Instant,
}

/// A call under way; dropping it gives the call up.
pub(crate) struct Calling(pub(crate) JoinHandle<Result<Outcome, Failure>>);

impl Drop for Calling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Questions {
    /// The next question of a server.
    pub(crate) async fn next(&self, server: &str) -> Question {
        loop {
            let rung = self.notifier.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if let Some(question) = self.take(server) {
                return question;
            }
            rung.await;
        }
    }

    /// A question whose server waits still.
    fn take(&self, server: &str) -> Option<Question> {
        let mut asked = locked(&self.asked);
        let of_server = asked.get_mut(server)?;
        std::iter::from_fn(|| of_server.pop_front()).find(|one| !one.answer.is_closed())
    }

    /// Keeps a call open until its answer comes, at most for so long.
    pub(crate) fn keep(&self, key: &str, calling: Calling, question: Question, at_most: Duration) {
        let now = Instant::now();
        let open = Open {
            calling,
            answer: question.answer,
            until: now + at_most,
        };
        let mut all = locked(&self.open);
        all.retain(|_, open| open.until > now);
        all.insert(key.to_owned(), open);
    }

    /// The open call with this key, whose server is given the answer.
    pub(crate) fn resume(&self, key: &str, answer: Value) -> Option<Calling> {
        let open = locked(&self.open).remove(key)?;
        // A server that waits no more was told that the question is declined.
        let _ = open.answer.send(answer);
        Some(open.calling)
    }
}

impl Answers for Questions {
    fn is_there(&self) -> bool {
        true
    }

    fn elicit<'a>(&'a self, server: &'a str, params: &'a Value) -> BoxFuture<'a, Option<Value>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let question = Question {
                params: params.clone(),
                answer,
            };
            locked(&self.asked)
                .entry(server.to_owned())
                .or_default()
                .push_back(question);
            self.notifier.notify_waiters();
            answered.await.ok()
        })
    }

    fn questions(&self) -> Option<&Questions> {
        Some(self)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
