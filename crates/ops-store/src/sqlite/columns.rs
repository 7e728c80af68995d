//! A state as its columns: the counterpart of `rows::life`.

use ops_core::{Json, State, Wait};

/// A state as its columns.
pub(super) struct StateColumns<'s> {
    pub(super) name: &'static str,
    pub(super) session: Option<&'s [u8; 16]>,
    pub(super) due: Option<i64>,
    pub(super) wait_on: Option<&'static str>,
    pub(super) wait: Option<Json>,
    pub(super) dead_letter: bool,
}

impl<'s> StateColumns<'s> {
    pub(super) fn new(state: &'s State) -> Self {
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
                columns.wait_on = Some(match wait {
                    Wait::Timer { .. } => "timer",
                    Wait::InDoubt { .. } => "in_doubt",
                });
                columns.wait = Json::from_value(wait).ok();
            }
            State::Failed { dead_letter } => columns.dead_letter = *dead_letter,
            State::Pending | State::Scheduled { .. } | State::Completed | State::Cancelled => {}
        }
        columns
    }
}
