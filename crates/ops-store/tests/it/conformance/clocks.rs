//! engine/E4: times that were made under a clock that was ahead are not believed for ever.

use ops_core::{
    Append, Next, RunCommand, WaitRequest, approval::NewApproval, ports::Clock as _,
    task::StateName, time::SECOND,
};
use serde_json::json;

use crate::world::{TENANT, World, error, pair, state};

/// How far the clock is ahead for a while, in seconds.
const AHEAD: i64 = 400_000_000;

pub(crate) async fn ends_waits_that_were_made_ahead_of_time(world: &World) {
    world.clock.advance(AHEAD);
    let (_, sleeping) = world.running().await;
    let until = world.clock.now().plus(3 * SECOND);
    let wait = Next::Wait(WaitRequest::Timer { until });
    world.append(&sleeping, pair(1), wait).await.unwrap();
    let mut new = world.new_task();
    new.retry.initial_micros = SECOND;
    let (_, failing) = world.running_new(new).await;
    let fail = Next::Fail {
        error: error("model_unreachable"),
        retryable: true,
    };
    world.append(&failing, pair(1), fail).await.unwrap();
    let mut new = world.new_task();
    new.task.limits.timeout_micros = Some(4 * SECOND);
    let (_, doubtful) = world.running_new(new).await;
    let wait = Next::Wait(WaitRequest::InDoubt { steps: vec![1] });
    world.append(&doubtful, pair(1), wait).await.unwrap();
    let mut new = world.new_task();
    let run_at = world.clock.now().plus(60 * SECOND);
    new.task.run_at = Some(run_at);
    let delayed = world.submit_new(new).await;
    // One that knows nothing of it.
    world.clock.advance(-AHEAD);
    let (_, right) = world.running().await;
    let until = world.clock.now().plus(60 * SECOND);
    let wait = Next::Wait(WaitRequest::Timer { until });
    world.append(&right, pair(1), wait).await.unwrap();
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 0);

    // In pieces.
    assert_eq!(world.store.correct_clocks(3).await.unwrap(), 3);
    assert_eq!(world.store.correct_clocks(3).await.unwrap(), 1);
    assert_eq!(world.store.correct_clocks(3).await.unwrap(), 0);
    let corrected = world.events(sleeping.id).await.pop().unwrap();
    assert_eq!(corrected.event.kind, "task.clock_corrected");
    assert_eq!(corrected.at, world.clock.now());
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 0);
    world.clock.advance(5);
    assert_eq!(world.store.wake_due(10).await.unwrap().woken, 3);
    for (task, expected) in [
        (sleeping.id, StateName::Pending),
        (failing.id, StateName::Pending),
        (doubtful.id, StateName::Failed),
        (right.id, StateName::Waiting),
    ] {
        assert_eq!(world.task(task).await.life.state.name(), expected);
    }
    // A start that was asked for by its date.
    assert_eq!(
        world.task(delayed).await.life.state,
        state::scheduled(run_at)
    );
}

pub(crate) async fn corrects_approvals_and_what_is_held(world: &World) {
    world.clock.advance(AHEAD);
    let (_, asking) = world.running().await;
    let expires_at = Some(world.clock.now().plus(30 * SECOND));
    let approval = NewApproval {
        step: 1,
        tool: "send".into(),
        tool_digest: "t".into(),
        agent_digest: "a".into(),
        input: json!({}),
        input_digest: "i".into(),
        input_schema: json!({"type": "object"}),
        reason: "it writes".into(),
        expires_at,
        details: Default::default(),
    };
    let wait = Next::Wait(WaitRequest::Approval {
        steps: vec![1],
        until: expires_at,
    });
    let append = Append {
        approvals: vec![approval],
        ..Append::new(asking.seq, Vec::new(), wait)
    };
    let append = RunCommand::append(asking.epoch, append);
    world.apply(asking.id, append).await.unwrap();
    let (session, held) = world.running().await;
    let pending = world.submit().await;
    world.clock.advance(-AHEAD);
    assert_eq!(world.store.correct_clocks(10).await.unwrap(), 2);
    let now = world.clock.now();
    let approval = world.store.approval(TENANT, asking.id, 1).await.unwrap();
    assert_eq!(approval.request.expires_at, Some(now.plus(30 * SECOND)));
    let held = world.task(held.id).await.life;
    assert_eq!(
        (held.state, held.started_at),
        (state::running(session), Some(now))
    );
    // What nothing is due of is corrected when it is taken up.
    let taken = world.claim(session, 1).await.remove(0).life;
    assert_eq!((taken.id, taken.started_at), (pending, Some(now)));
}
