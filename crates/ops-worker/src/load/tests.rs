//! What a resume reads: the log is the truth, and a snapshot only a shorter way to it.

use agentkit::run::{Limits, Turn};
use ops_core::{
    AgentDigest, Json, Lifecycle, Micros, RunCommand, SessionId, StoredEvent, TenantId,
    event::{NewEvent, Usage},
    ports::{Blob, ClaimRequest, Claimed, Fut, HeartbeatReply, RunStore, Snapshot},
};
use serde_json::{Value, json};

use super::*;

/// A store of one log and one snapshot, for reading.
struct RetentionCandidate {
    log: Vec<StoredEvent>,
    snapshot: Option<Snapshot>,
}

type Answer<'a, T> = Fut<'a, Result<T, StoreError>>;

fn never<'a, T: Send + 'a>() -> Answer<'a, T> {
    let error = StoreError::Unavailable("a load only reads".into());
    Box::pin(std::future::ready(Err(error)))
}

impl RunStore for RetentionCandidate {
    fn open_session(&self, _: SessionId) -> Answer<'_, ()> {
        never()
    }
    fn heartbeat(&self, _: SessionId) -> Answer<'_, HeartbeatReply> {
        never()
    }
    fn interrupted(&self, _: SessionId) -> Fut<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn close_session(&self, _: SessionId) -> Answer<'_, ()> {
        never()
    }
    fn claim(&self, _: ClaimRequest) -> Answer<'_, Claimed> {
        never()
    }
    fn record(&self, _: TenantId, _: TaskId, _: RunCommand, _: Vec<Blob>) -> Answer<'_, Lifecycle> {
        never()
    }
    fn log(&self, _: TenantId, _: TaskId, after: u64, limit: u32) -> Answer<'_, Vec<StoredEvent>> {
        let page = self.log.iter().filter(|event| event.seq > after);
        let page = page.take(limit as usize).cloned().collect();
        Box::pin(std::future::ready(Ok(page)))
    }
    fn value<'a>(&'a self, _: TenantId, _: &'a str, _: u64, _: u64) -> Answer<'a, Vec<u8>> {
        never()
    }
    fn snapshot(&self, _: TenantId, _: TaskId) -> Answer<'_, Option<Snapshot>> {
        Box::pin(std::future::ready(Ok(self.snapshot.clone())))
    }
    fn put_snapshot(&self, _: TenantId, _: TaskId, _: u64, _: Snapshot) -> Answer<'_, ()> {
        never()
    }
    fn definition(&self, _: TenantId, _: AgentDigest) -> Answer<'_, Json> {
        never()
    }
}

/// A log of so many turns, with signals from outside in between, that has an answer at its end.
fn log(turns: u64) -> Vec<StoredEvent> {
    let mut log: Vec<StoredEvent> = Vec::new();
    let mut push = |event: NewEvent| {
        log.push(StoredEvent {
            seq: log.len() as u64 + 1,
            at: Micros(1),
            event,
        });
    };
    let body = |body: Value| NewEvent {
        kind: body["type"].as_str().unwrap().to_owned(),
        step: None,
        usage: Usage::default(),
        blobs: Vec::new(),
        body: body.to_string().into_bytes().into(),
    };
    push(body(json!({"v": 1, "type": "run.started", "goal": "go",
        "config": {"agent": "a", "model": "m", "planner": "react"}})));
    for turn in 0..turns {
        let (step, call) = (turn * 2 + 1, turn * 2 + 2);
        push(body(
            json!({"v": 1, "type": "model.started", "step": step, "attempt": 1,
            "name": "m", "reserved_tokens": 100}),
        ));
        let calls = u64::from(turn + 1 < turns);
        push(body(
            json!({"v": 1, "type": "model.completed", "step": step, "name": "m",
            "output": format!("words {turn}"), "calls": calls, "finish": "stop",
            "usage": {"input_tokens": 10 + turn, "output_tokens": 5}}),
        ));
        if calls == 0 {
            break;
        }
        push(body(
            json!({"v": 1, "type": "tool.called", "step": call, "provider_id": "p",
            "name": "look", "input": {"at": turn}, "effect": "pure", "verdict": "start"}),
        ));
        if turn % 7 == 3 {
            let (name, payload) = (format!("s{}", turn % 3), json!({"of": turn}));
            push(TaskEvent::Signalled { name, payload }.envelope());
        }
        push(body(json!({"v": 1, "type": "tool.completed", "step": call,
            "output": {"seen": turn, "share": turn as f64 / 7.0}})));
    }
    log
}

async fn read(log: &[StoredEvent], snapshot: Option<Snapshot>) -> Result<Run, LoadError> {
    let last = log.last().map_or(0, |event| event.seq);
    read_up_to(log, snapshot, last).await
}

async fn read_up_to(
    log: &[StoredEvent],
    snapshot: Option<Snapshot>,
    last: u64,
) -> Result<Run, LoadError> {
    let store = RetentionCandidate {
        log: log.to_vec(),
        snapshot,
    };
    let world = World {
        store: &store,
        tenant: TenantId::DEFAULT,
        limits: &Limits::default(),
        started: 0,
    };
    let task = TaskId::new(Micros(1), [1; 10]);
    load(&world, task, last).await.map(|(run, _)| run)
}

fn snapshot(run: &Run, seq: u64) -> Snapshot {
    Snapshot {
        seq,
        version: FOLD_VERSION,
        body: serde_json::to_vec(run).unwrap(),
    }
}

fn missing(loaded: Result<Run, LoadError>) -> u64 {
    match loaded {
        Err(LoadError::Missing(seq)) => seq,
        other => panic!("a hole was not noticed: {other:?}"),
    }
}

/// tests/X2: whatever snapshot there is, a load is the fold of the log, and a log that lacks one
/// event after the snapshot is not read as if it were whole.
#[tokio::test]
async fn a_load_is_the_fold_of_the_log_for_a_snapshot_at_every_event() {
    let log = log(40);
    let whole = read(&log, None).await.unwrap();
    let answer =
        |run: &Run| matches!(run.turn(), Turn::Answered { text, .. } if text == "words 39");
    assert!(answer(&whole));
    for at in 1..=log.len() {
        let kept = snapshot(&read(&log[..at], None).await.unwrap(), at as u64);
        let run = read(&log, Some(kept.clone())).await.unwrap();
        assert_eq!(run, whole, "a snapshot at event {at}");
        // The hole right after the snapshot is the one that only the numbers show.
        if at < log.len() {
            let mut less = log.clone();
            less.remove(at);
            let lost = at as u64 + 1;
            let last = log.len() as u64;
            assert_eq!(missing(read_up_to(&less, Some(kept), last).await), lost);
            assert_eq!(missing(read_up_to(&less, None, last).await), lost);
        }
    }
}

#[tokio::test]
async fn a_log_of_several_pages_is_read_whole_and_a_hole_at_their_seam_is_noticed() {
    let mut log = log(600);
    assert!(log.len() > 2 * PAGE as usize);
    let run = read(&log, None).await.unwrap();
    assert!(matches!(run.turn(), Turn::Answered { text, .. } if text == "words 599"));
    log.remove(PAGE as usize);
    assert_eq!(missing(read(&log, None).await), u64::from(PAGE) + 1);
}

/// tests/X2: the body of such a snapshot is not even looked at.
#[tokio::test]
async fn a_snapshot_of_another_version_or_of_events_that_are_not_there_is_ignored() {
    let log = log(20);
    let whole = read(&log, None).await.unwrap();
    // A body that reads well and lies: it is of another run.
    let lie = read(&self::log(9), None).await.unwrap();
    let of = |seq, version| {
        let lie = snapshot(&lie, seq);
        Some(Snapshot { version, ..lie })
    };
    let at = 30;
    for version in [FOLD_VERSION - 1, FOLD_VERSION + 1] {
        assert_eq!(read(&log, of(at, version)).await.unwrap(), whole);
    }
    let past = log.len() as u64 + 1;
    assert_eq!(read(&log, of(past, FOLD_VERSION)).await.unwrap(), whole);
    // Of this version it would have been believed, so the checks above are what holds it off.
    assert_ne!(read(&log, of(at, FOLD_VERSION)).await.ok(), Some(whole));
}

#[tokio::test]
async fn a_log_that_ends_early_is_noticed_and_one_that_goes_on_is_read_to_its_end() {
    let log = log(10);
    let last = log.len() as u64;
    let run = read_up_to(&log, None, last - 5).await.unwrap();
    assert_eq!(run, read(&log, None).await.unwrap());
    assert_eq!(
        missing(read_up_to(&log[..log.len() - 1], None, last).await),
        last
    );
}
