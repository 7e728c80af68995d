//! Commands that name what they are about by small numbers: each fits some task of a run.

use proptest::prelude::*;

/// One command. Numbers of tasks, sessions and steps are taken modulo what there is.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Submit(Submit),
    OpenSession(u8),
    CloseSession(u8),
    Heartbeat(u8),
    Claim {
        session: u8,
        max: u32,
        queue: u8,
        rated: bool,
    },
    Append {
        task: u8,
        /// What the writer knows: the last event, the one before, or another epoch.
        knows: Knows,
        steps: u8,
        large: bool,
        next: Next,
    },
    /// The last append once more: its answer was lost.
    Again,
    Release(u8),
    Cancel(u8),
    Pause(u8),
    Resume(u8),
    Signal(u8),
    Limit(u8),
    Resolve {
        task: u8,
        retry: bool,
    },
    DecideApproval {
        approval: u8,
        action: u8,
    },
    Rerun {
        task: u8,
        step: u8,
    },
    Redrive(u8),
    Snapshot {
        task: u8,
        seq: u8,
        version: u8,
    },
    /// Time passes.
    Pass(i64),
    /// The clock is set.
    Set(i64),
    Wake(u32),
    CorrectClocks,
    Expire,
    PutAgent {
        name: u8,
        starts: Option<u8>,
        definition: u8,
    },
    RemoveAgent {
        name: u8,
        definition: Option<u8>,
    },
    PutSchedule {
        overlap: u8,
        delay: i64,
        paused: bool,
    },
    ChangeSchedule(u8),
    Fire {
        occasion: u8,
        runs: u8,
        broken: bool,
    },
    Delete {
        kept: i64,
        limit: u32,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Submit {
    pub(crate) queue: u8,
    pub(crate) priority: u8,
    pub(crate) key: Option<u8>,
    pub(crate) idempotency: Option<(u8, u8)>,
    pub(crate) delay: Option<i64>,
    pub(crate) attempts: u32,
    pub(crate) agent: Option<u8>,
    /// Seconds from the first start, and until it.
    pub(crate) timeout: Option<i64>,
    pub(crate) patience: Option<i64>,
    pub(crate) other_tenant: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Knows {
    All,
    Less,
    OtherEpoch,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Next {
    Continue,
    Complete { large: bool },
    Fail { retryable: bool },
    Timer(i64),
    Signal { until: bool },
    InDoubt,
    Approval { until: bool },
    Spawn,
    AwaitChild,
    Budget,
    Cancelled,
}

/// Mostly the first queue.
fn queue() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0_u8), 1 => Just(1_u8)]
}

fn submit() -> impl Strategy<Value = Submit> {
    let rarely = |share: u8, most: u8| {
        prop_oneof![
            10 => Just(None),
            u32::from(share) => (0..most).prop_map(Some),
        ]
    };
    (
        (queue(), 0_u8..3, rarely(12, 2)),
        prop_oneof![6 => Just(None), 1 => (0_u8..2, 0_u8..2).prop_map(Some)],
        prop_oneof![5 => Just(None), 1 => (0_i64..20).prop_map(Some)],
        (1_u32..4, rarely(3, 3), prop::bool::weighted(0.1)),
        (rarely(2, 30), rarely(2, 30)),
    )
        .prop_map(
            |(
                (queue, priority, key),
                idempotency,
                delay,
                (attempts, agent, other_tenant),
                (timeout, patience),
            )| {
                Submit {
                    queue,
                    priority,
                    key,
                    idempotency,
                    delay,
                    attempts,
                    agent,
                    timeout: timeout.map(i64::from),
                    patience: patience.map(i64::from),
                    other_tenant,
                }
            },
        )
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        4 => Just(Next::Continue),
        3 => prop::bool::weighted(0.2).prop_map(|large| Next::Complete { large }),
        3 => prop::bool::weighted(0.7).prop_map(|retryable| Next::Fail { retryable }),
        1 => (-2_i64..30).prop_map(Next::Timer),
        2 => any::<bool>().prop_map(|until| Next::Signal { until }),
        2 => Just(Next::InDoubt),
        6 => any::<bool>().prop_map(|until| Next::Approval { until }),
        4 => Just(Next::Spawn),
        4 => Just(Next::AwaitChild),
        1 => Just(Next::Budget),
        1 => Just(Next::Cancelled),
    ]
}

fn append() -> impl Strategy<Value = Command> {
    let knows = prop_oneof![
        12 => Just(Knows::All),
        1 => Just(Knows::Less),
        1 => Just(Knows::OtherEpoch),
    ];
    let large = prop::bool::weighted(0.1);
    (any::<u8>(), knows, 0_u8..3, large, next()).prop_map(|(task, knows, steps, large, next)| {
        Command::Append {
            task,
            knows,
            steps,
            large,
            next,
        }
    })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let task = || any::<u8>();
    let session = || 0_u8..2;
    let claim = (session(), 1_u32..5, queue(), prop::bool::weighted(0.1)).prop_map(
        |(session, max, queue, rated)| Command::Claim {
            session,
            max,
            queue,
            rated,
        },
    );
    let control = prop_oneof![
        4 => task().prop_map(Command::Cancel),
        1 => task().prop_map(Command::Pause),
        2 => task().prop_map(Command::Resume),
        2 => task().prop_map(Command::Signal),
        1 => task().prop_map(Command::Limit),
        2 => (task(), any::<bool>()).prop_map(|(task, retry)| Command::Resolve { task, retry }),
        6 => (task(), 0_u8..4).prop_map(|(approval, action)| Command::DecideApproval { approval, action }),
        5 => (task(), task()).prop_map(|(task, step)| Command::Rerun { task, step }),
        2 => task().prop_map(Command::Redrive),
        1 => (task(), 0_u8..6, 0_u8..2)
            .prop_map(|(task, seq, version)| Command::Snapshot { task, seq, version }),
    ];
    let time = prop_oneof![
        3 => (0_i64..15).prop_map(Command::Pass),
        1 => (-40_i64..40).prop_map(Command::Set),
        3 => (1_u32..5).prop_map(Command::Wake),
        1 => Just(Command::CorrectClocks),
        2 => Just(Command::Expire),
    ];
    let schedules = prop_oneof![
        2 => (0_u8..4, 0_i64..10, prop::bool::weighted(0.1)).prop_map(
            |(overlap, delay, paused)| Command::PutSchedule { overlap, delay, paused }
        ),
        1 => (0_u8..4).prop_map(Command::ChangeSchedule),
        4 => (0_u8..4, 0_u8..4, prop::bool::weighted(0.2)).prop_map(
            |(occasion, runs, broken)| Command::Fire { occasion, runs, broken }
        ),
    ];
    prop_oneof![
        10 => submit().prop_map(Command::Submit),
        2 => session().prop_map(Command::OpenSession),
        1 => session().prop_map(Command::CloseSession),
        1 => session().prop_map(Command::Heartbeat),
        10 => claim,
        20 => append(),
        2 => Just(Command::Again),
        1 => task().prop_map(Command::Release),
        14 => control,
        6 => time,
        4 => schedules,
        1 => (0_u8..3, prop::option::of(0_u8..3), 0_u8..3).prop_map(
            |(name, starts, definition)| Command::PutAgent { name, starts, definition }
        ),
        1 => (0_u8..3, prop::option::of(0_u8..3))
            .prop_map(|(name, definition)| Command::RemoveAgent { name, definition }),
        1 => (0_i64..20, 1_u32..4).prop_map(|(kept, limit)| Command::Delete { kept, limit }),
    ]
}
