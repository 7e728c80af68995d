//! The order of the calls of one answer.
//!
//! The model wrote its calls in an order and may rely on the order: a read after a write is to see the
//! written data, also if the write waits for an approval. So a call begins only when no earlier unsettled
//! call conflicts with the call (see [`Resources::conflicts_with`]). Calls that do not conflict overlap.
//! The facts behind this decision are recorded with the calls, so a resumed run decides alike.

use super::{CallState, Progress, Run};
use crate::{
    event::StepId,
    tool::{Effect, Resources},
};

/// A call that is not settled, as the order of the calls sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsettled<'a> {
    pub(crate) step: StepId,
    pub(crate) effect: Effect,
    /// `None` in logs of releases that did not record resources.
    pub(crate) resources: Option<&'a Resources>,
    pub(crate) stage: Stage,
}

/// How far an unsettled call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The call may begin as soon as the earlier calls allow.
    Ready,
    /// The call may not begin yet: an approval is open.
    Held,
    /// The call is under way.
    Begun,
    /// The call has run, and its result is an external event.
    Waiting,
}

/// The calls of one answer, in the model's order, that may begin now.
///
/// At most one `write` call is under way at a time, whatever its resources: after a crash, no more than one
/// call is in doubt. A `keyed` call never is.
pub(crate) fn may_begin(calls: &[Unsettled<'_>]) -> Vec<StepId> {
    let Some(resources) = calls
        .iter()
        .map(|call| call.resources)
        .collect::<Option<Vec<&Resources>>>()
    else {
        return by_effect_alone(calls);
    };
    let is_write_under_way =
        |call: &Unsettled<'_>| call.effect == Effect::Write && call.stage == Stage::Begun;
    let mut writes = calls.iter().any(is_write_under_way);
    let mut steps = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let is_write = call.effect == Effect::Write;
        let conflicts = |before: &&Resources| before.conflicts_with(resources[at]);
        if call.stage != Stage::Ready
            || (is_write && writes)
            || resources[..at].iter().any(conflicts)
        {
            continue;
        }
        writes |= is_write;
        steps.push(call.step);
    }
    steps
}

/// The order in logs without the calls' resources: one `write`, or all other calls before. A `write` that
/// may not begin yet holds up the later calls.
fn by_effect_alone(calls: &[Unsettled<'_>]) -> Vec<StepId> {
    if calls.iter().any(|call| call.stage == Stage::Begun) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for call in calls.iter().filter(|call| call.stage != Stage::Waiting) {
        let may_run = call.stage == Stage::Ready;
        match call.effect {
            Effect::Keyed | Effect::Write if steps.is_empty() && may_run => return vec![call.step],
            Effect::Keyed | Effect::Write => break,
            Effect::Pure | Effect::Idempotent if may_run => steps.push(call.step),
            Effect::Pure | Effect::Idempotent => {}
        }
    }
    steps
}

impl Run {
    /// The calls that may begin now, beside the calls under way.
    pub(super) fn may_begin(&self) -> Vec<StepId> {
        let calls: Vec<_> = self.calls().iter().filter_map(unsettled).collect();
        may_begin(&calls)
    }
}

fn unsettled(state: &CallState) -> Option<Unsettled<'_>> {
    let stage = match &state.progress {
        Progress::Queued | Progress::Approved => Stage::Ready,
        Progress::AwaitingApproval { .. } => Stage::Held,
        Progress::Started { .. } | Progress::Doubted { .. } => Stage::Begun,
        Progress::Waiting { .. } => Stage::Waiting,
        // Those of a fork are judged before anything else begins.
        Progress::Reset | Progress::Settled { .. } => return None,
    };
    Some(Unsettled {
        step: state.call.step,
        effect: state.call.effect,
        resources: state.call.resources.as_ref(),
        stage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Resource;

    fn reads(path: &str) -> Resources {
        Resources::reads([Resource::file(path)])
    }

    fn writes(path: &str) -> Resources {
        Resources::writes([Resource::file(path)])
    }

    /// The calls that may begin of these, numbered from 1.
    fn begin(calls: &[(Effect, Option<Resources>, Stage)]) -> Vec<u32> {
        let calls: Vec<_> = (1..)
            .zip(calls)
            .map(|(step, (effect, resources, stage))| Unsettled {
                step: StepId(step),
                effect: *effect,
                resources: resources.as_ref(),
                stage: *stage,
            })
            .collect();
        may_begin(&calls).into_iter().map(|step| step.0).collect()
    }

    #[test]
    fn calls_begin_unless_one_before_them_conflicts() {
        use Effect::{Idempotent, Pure, Write};
        use Stage::{Begun, Held, Ready, Waiting};
        let (a, b) = (Some(writes("a")), Some(writes("b")));
        let (read_a, read_b) = (Some(reads("a")), Some(reads("b")));
        let all = Some(Resources::everything());
        let look = Some(Resources::unknown(Pure));
        let nothing = Some(Resources::none());
        for (calls, expected) in [
            (
                vec![
                    (Idempotent, a.clone(), Ready),
                    (Idempotent, a.clone(), Ready),
                    (Pure, read_a.clone(), Ready),
                    (Pure, read_b.clone(), Ready),
                ],
                vec![1, 4],
            ),
            // What waits for an approval holds up what relies on it, and nothing else.
            (
                vec![
                    (Write, a.clone(), Held),
                    (Pure, read_a.clone(), Ready),
                    (Pure, read_b.clone(), Ready),
                    (Write, b.clone(), Ready),
                ],
                vec![3],
            ),
            (
                vec![
                    (Write, a.clone(), Held),
                    (Write, b.clone(), Ready),
                    (Idempotent, nothing.clone(), Ready),
                ],
                vec![2, 3],
            ),
            // Also a read that waits for one: the write after it would change what it reads.
            (
                vec![(Pure, read_a.clone(), Held), (Idempotent, a.clone(), Ready)],
                vec![],
            ),
            (
                vec![(Pure, read_a.clone(), Waiting), (Idempotent, a, Ready)],
                vec![],
            ),
            // One `write` at a time, beside reads of something else.
            (
                vec![
                    (Write, b.clone(), Ready),
                    (Write, Some(writes("c")), Ready),
                    (Pure, read_a, Ready),
                ],
                vec![1, 3],
            ),
            (
                vec![
                    (Pure, read_b, Begun),
                    (Write, Some(writes("c")), Begun),
                    (Write, Some(writes("d")), Ready),
                    (Idempotent, b, Ready),
                    (Idempotent, Some(writes("e")), Ready),
                ],
                vec![5],
            ),
            // Tools that say nothing run in order, but for those that change nothing.
            (
                vec![
                    (Pure, look.clone(), Ready),
                    (Pure, look.clone(), Ready),
                    (Idempotent, all.clone(), Ready),
                    (Pure, nothing, Ready),
                    (Pure, look, Ready),
                ],
                vec![1, 2, 4],
            ),
            (
                vec![(Idempotent, all.clone(), Ready), (Idempotent, all, Ready)],
                vec![1],
            ),
        ] {
            assert_eq!(begin(&calls), expected, "{calls:#?}");
        }
    }

    #[test]
    fn a_log_that_does_not_say_what_calls_touch_keeps_its_order() {
        use Effect::{Idempotent, Pure, Write};
        use Stage::{Begun, Held, Ready, Waiting};
        for (calls, expected) in [
            (
                vec![(Pure, Ready), (Idempotent, Ready), (Write, Ready)],
                vec![1, 2],
            ),
            (vec![(Write, Ready), (Pure, Ready)], vec![1]),
            (vec![(Pure, Ready), (Write, Held), (Pure, Ready)], vec![1]),
            (vec![(Pure, Held), (Pure, Ready), (Write, Ready)], vec![2]),
            (vec![(Pure, Held), (Write, Ready)], vec![2]),
            (vec![(Pure, Waiting), (Write, Ready)], vec![2]),
            (vec![(Pure, Begun), (Pure, Ready)], vec![]),
        ] {
            let calls: Vec<_> = calls
                .into_iter()
                .map(|(effect, stage)| (effect, None, stage))
                .collect();
            assert_eq!(begin(&calls), expected, "{calls:?}");
        }
        // One call of the turn that does not say is enough.
        let mixed = [
            (Pure, Some(Resources::none()), Ready),
            (Write, None, Ready),
            (Pure, Some(Resources::none()), Ready),
        ];
        assert_eq!(begin(&mixed), [1]);
    }
}
