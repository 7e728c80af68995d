//! The engine's follower where several events are committed at once, and its hints (tests/X10).

use std::{sync::Arc, time::Duration};

use ops_core::{
    Json, Next, TaskId, TenantId,
    event::{NewEvent, StepStatus},
    ports::{Delta, HintUpdate, Live as _},
    task::StateName,
};
use ops_engine::{Followed, Follower};
use serde_json::json;

use crate::{
    client::Events,
    harness::{App, event},
};

const TENANT: TenantId = TenantId::DEFAULT;
/// Longer than a commit takes, shorter than the look at the log in case a hint was lost.
const SILENCE: Duration = Duration::from_secs(2);

/// So many events, which are committed together.
fn events(numbers: std::ops::Range<u32>) -> Vec<NewEvent> {
    numbers
        .map(|number| event(number, StepStatus::Started, json!({"name": "t"})))
        .collect()
}

fn word(offset: u64) -> Delta {
    Delta {
        step: 1,
        attempt: 1,
        offset,
        text: "x".into(),
    }
}

/// A task that runs: its log has two events.
async fn running(app: &App) -> TaskId {
    app.echo().await;
    app.claim().await.task.id
}

async fn complete(app: &App, task: TaskId) {
    let result = Json::from(&json!({}));
    app.append(task, Vec::new(), Next::Complete { result })
        .await;
}

/// The numbers of the events up to one of them; an earlier silence or end is one of the test.
async fn until(follower: &mut Follower, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.last() != Some(&last) {
        match follower.next(SILENCE).await.unwrap() {
            Some(Followed::Events(page)) => seqs.extend(page.events.iter().map(|event| event.seq)),
            Some(Followed::Delta(_)) => {}
            other => panic!("after {seqs:?} came {other:?}"),
        }
    }
    seqs
}

/// tests/X10: a page that begins before what a follower has.
#[tokio::test]
async fn pages_that_overlap_are_given_once() {
    let app = App::start().await;
    let task = running(&app).await;
    let mut early = app.engine.follow(TENANT, task, 0).await.unwrap();
    assert_eq!(until(&mut early, 2).await, [1, 2]);
    // The feed does not hear of the first commit before the second, and reads both as one page; a
    // follower that comes in between has the first part of it.
    app.live.hold();
    app.append(task, events(1..3), Next::Continue).await;
    let mut between = app.engine.follow(TENANT, task, 0).await.unwrap();
    assert_eq!(until(&mut between, 4).await, [1, 2, 3, 4]);
    app.append(task, events(3..6), Next::Continue).await;
    app.live.release();
    assert_eq!(until(&mut early, 7).await, [3, 4, 5, 6, 7]);
    assert_eq!(until(&mut between, 7).await, [5, 6, 7]);
    complete(&app, task).await;
    for follower in [&mut early, &mut between] {
        assert_eq!(until(follower, 8).await, [8]);
        let end = follower.next(SILENCE).await.unwrap();
        assert!(matches!(end, Some(Followed::End { last: 8 })), "{end:?}");
        assert!(follower.next(SILENCE).await.unwrap().is_none());
    }
}

/// tests/X10: the words of an answer push the events out of a slow follower's backlog.
#[tokio::test]
async fn a_follower_that_lags_reads_the_log_again() {
    let app = App::start().await;
    let task = running(&app).await;
    let mut slow = app.engine.follow(TENANT, task, 0).await.unwrap();
    let mut quick = app.engine.follow(TENANT, task, 0).await.unwrap();
    for follower in [&mut slow, &mut quick] {
        assert_eq!(until(follower, 2).await, [1, 2]);
    }
    app.append(task, events(1..4), Next::Continue).await;
    assert_eq!(until(&mut quick, 5).await, [3, 4, 5]);
    for offset in 0..100 {
        app.live.delta(TENANT, task, word(offset));
        let external_pending = quick.next(SILENCE).await.unwrap();
        let Some(Followed::Delta(delta)) = external_pending else {
            panic!("{external_pending:?} in place of word {offset}");
        };
        assert_eq!(delta.offset, offset);
    }
    assert_eq!(until(&mut slow, 5).await, [3, 4, 5]);
}

/// tests/X10: events that are committed between listening and looking.
#[tokio::test]
async fn what_is_committed_while_a_follower_comes_is_given() {
    let app = Arc::new(App::start().await);
    let task = running(&app).await;
    let (handle, server) = (tokio::runtime::Handle::current(), Arc::clone(&app));
    app.live.before_listening(move || {
        let commit = async move {
            server.append(task, events(1..3), Next::Continue).await;
        };
        let commits = std::thread::spawn(move || handle.block_on(commit));
        commits.join().unwrap();
    });
    // It has all that was there when it asked, and does not look at the log for that.
    let mut follower = app.engine.follow(TENANT, task, 2).await.unwrap();
    assert_eq!(until(&mut follower, 4).await, [3, 4]);
}

/// tests/X10: many followers from many places, commits of many sizes.
#[tokio::test]
async fn every_follower_gets_each_event_of_commits_of_any_size_once() {
    let app = App::start().await;
    let task = running(&app).await;
    let path = format!("/api/v1/tasks/{task}/events");
    let mut number = 0;
    let mut streams = Vec::new();
    for round in 0..60_u32 {
        let size = 1 + round * 7 % 11;
        let last = u64::from(number) * u64::from(round % 3) / 2;
        let text = last.to_string();
        let stream = Events::open(app.addr, &path, &[("last-event-id", &text)]).await;
        streams.push((last, tokio::spawn(stream.all())));
        app.append(task, events(number..number + size), Next::Continue)
            .await;
        number += size;
    }
    complete(&app, task).await;
    let end = u64::from(number) + 3;
    assert!(end > 300, "more than a page of a hundred commits");
    for (last, stream) in streams {
        let seqs: Vec<_> = stream.await.unwrap().iter().filter_map(|e| e.id).collect();
        assert_eq!(seqs, (last + 1..=end).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn hints_tell_of_each_task_of_the_tenant() {
    let app = App::start().await;
    let mut hints = app.engine.hints(TENANT);
    let mut others = app.engine.hints(TenantId(2));
    let task = running(&app).await;
    app.append(task, events(1..4), Next::Continue).await;
    complete(&app, task).await;
    let mut external_pending = Vec::new();
    while external_pending.last() != Some(&StateName::Completed) {
        match tokio::time::timeout(SILENCE, hints.next()).await.unwrap() {
            HintUpdate::Hint(hint) => {
                assert_eq!(hint.task, task);
                let life = app.engine.life(TENANT, task).await.unwrap();
                assert!(hint.seq <= life.seq);
                external_pending.push(hint.state);
            }
            HintUpdate::Missed(missed) => panic!("{missed} of a handful"),
        }
    }
    assert_eq!(
        external_pending,
        [StateName::Pending, StateName::Running, StateName::Completed]
    );
    let other = tokio::time::timeout(Duration::from_millis(20), others.next()).await;
    assert!(other.is_err(), "{other:?} is of another tenant");
}
