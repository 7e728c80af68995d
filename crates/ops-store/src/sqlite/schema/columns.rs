//! A state as its columns: the counterpart of `rows::life`.

use ops_core::{Json, Lifecycle, State, Ties};

/// A state as its columns.
pub(crate) struct StateColumns<'s> {
    pub(crate) name: &'static str,
    pub(crate) session: Option<&'s [u8; 16]>,
    pub(crate) due: Option<i64>,
    pub(crate) wait_on: Option<&'static str>,
    pub(crate) wait: Option<Json>,
    pub(crate) dead_letter: bool,
}

impl<'s> StateColumns<'s> {
    pub(crate) fn new(state: &'s State) -> Self {
        let mut columns = Self {
            name: state.name().as_str(),
            session: None,
            due: state.due().map(|due| due.0),
            wait_on: None,
            wait: None,
            dead_letter: false,
        };
        match state {
            State::Running { session } | State::Cancelling { session } => {
                columns.session = Some(session.as_bytes());
            }
            State::Waiting(wait) => {
                columns.wait_on = Some(wait.name());
                columns.wait = Json::from_value(wait).ok();
            }
            State::Failed { dead_letter } => columns.dead_letter = *dead_letter,
            State::Pending
            | State::Scheduled { .. }
            | State::Paused
            | State::Completed
            | State::Cancelled => {}
        }
        columns
    }
}

const PAUSED: u8 = 1;
const HEARD: u8 = 2;
const PARENT: u8 = 4;
const CHILDREN: u8 = 8;
const APPROVALS: u8 = 16;
const KEY: u8 = 32;

/// What is true of a task beside its state, as one number.
pub(crate) fn flags(life: &Lifecycle) -> u8 {
    let Ties {
        parent,
        children,
        approvals,
        key,
    } = life.ties;
    [
        (life.paused, PAUSED),
        (life.heard, HEARD),
        (parent, PARENT),
        (children, CHILDREN),
        (approvals, APPROVALS),
        (key, KEY),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// The counterpart of [`flags`]: whether it is paused, whether it has heard, and its ties.
pub(crate) fn from_flags(flags: u8) -> (bool, bool, Ties) {
    let is = |flag| flags & flag != 0;
    let ties = Ties {
        parent: is(PARENT),
        children: is(CHILDREN),
        approvals: is(APPROVALS),
        key: is(KEY),
    };
    (is(PAUSED), is(HEARD), ties)
}
