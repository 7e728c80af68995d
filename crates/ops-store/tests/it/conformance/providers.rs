//! The limits of providers: they are kept with the append that begins a call.

use std::sync::Arc;

use ops_core::{
    Append, Lifecycle, Micros, Next, Rejection, RunCommand, WaitRequest,
    event::StepStatus,
    ports::StoreError,
    provider::{ProviderEntry, ProviderKey, ProviderLimit, ProviderState},
    task::StateName,
    time::SECOND,
};

use crate::world::{World, pair, step};

const MINUTE: i64 = 60 * SECOND;

fn limit(requests: u32, tokens: Option<u32>) -> Arc<ProviderLimit> {
    Arc::new(ProviderLimit {
        provider: "openai".to_owned(),
        key: ProviderKey([9; 32]),
        requests: Some(requests),
        tokens,
    })
}

fn call(limit: &Arc<ProviderLimit>, tokens: u64, turn: Option<Micros>) -> ProviderEntry {
    ProviderEntry::Call {
        limit: Arc::clone(limit),
        tokens,
        turn,
    }
}

fn append(life: &Lifecycle, number: u32, entries: Vec<ProviderEntry>) -> RunCommand {
    let mut append = Append::new(life.seq, pair(number), Next::Continue);
    append.provider = entries;
    RunCommand::append(life.epoch, append)
}

fn waits(life: &Lifecycle, limit: &Arc<ProviderLimit>, until: Option<Micros>) -> RunCommand {
    let wait = WaitRequest::Budget {
        limit: "openai.requests_per_minute".to_owned(),
        message: "other calls go first".to_owned(),
        until,
    };
    let mut append = Append::new(life.seq, Vec::new(), Next::Wait(wait));
    append.provider = vec![ProviderEntry::Wait {
        limit: Arc::clone(limit),
        tokens: 0,
        turn: None,
    }];
    RunCommand::append(life.epoch, append)
}

async fn state(world: &World) -> ProviderState {
    let states = world.store.providers(vec![ProviderKey([9; 32])]).await;
    states.unwrap()[0]
}

fn now(world: &World) -> Micros {
    ops_core::ports::Clock::now(&*world.clock)
}

fn is_refused<T: std::fmt::Debug>(done: &Result<T, StoreError>) -> bool {
    matches!(
        done,
        Err(StoreError::Rejected(Rejection::ProviderLimit { .. }))
    )
}

pub(crate) async fn refuse_a_call_and_give_a_turn(world: &World) {
    let limit = limit(1, None);
    let (_, one) = world.claim_another(world.new_task()).await;
    let (_, two) = world.claim_another(world.new_task()).await;
    let (_, three) = world.claim_another(world.new_task()).await;
    assert_eq!(state(world).await, ProviderState::default());
    let first = append(&one, 1, vec![call(&limit, 0, None)]);
    world.apply(one.id, first.clone()).await.unwrap();
    let begun = state(world).await;
    assert!(begun.requests_at > now(world), "{begun:?}");
    // A lost acknowledgement: the same append again changes nothing.
    world.apply(one.id, first).await.unwrap();
    assert_eq!(state(world).await, begun);
    let refused = world
        .apply(two.id, append(&two, 1, vec![call(&limit, 0, None)]))
        .await;
    assert!(is_refused(&refused), "{refused:?}");
    assert_eq!(world.task(two.id).await.life, two, "no event was written");
    // A stale writer changes nothing.
    let mut stale = append(&two, 1, vec![call(&limit, 0, None)]);
    stale.epoch += 1;
    world.apply(two.id, stale).await.unwrap_err();
    assert_eq!(state(world).await, begun);
    let waiting = world
        .apply(two.id, waits(&two, &limit, None))
        .await
        .unwrap();
    let turn = waiting.state.due().unwrap();
    assert_eq!(turn, begun.requests_at, "the store gives the turn");
    let next = world.apply(three.id, waits(&three, &limit, None)).await;
    let later = next.unwrap().state.due().unwrap();
    assert_eq!(later.0 - turn.0, MINUTE);
    assert_eq!(world.store.stats().work.provider_waits, 2);
    // The task is woken with its turn, and then its call begins, although another waits.
    world.clock.advance(61);
    world.store.wake_due(10).await.unwrap();
    assert_eq!(
        world.task(two.id).await.life.state.name(),
        StateName::Pending
    );
    assert_eq!(
        world.task(three.id).await.life.state.name(),
        StateName::Waiting
    );
    let session = world.session().await;
    let two = world.claim(session, 1).await.remove(0).life;
    let newcomer = world
        .apply(two.id, append(&two, 1, vec![call(&limit, 0, None)]))
        .await;
    assert!(is_refused(&newcomer), "{newcomer:?}");
    let back = append(&two, 1, vec![call(&limit, 0, Some(turn))]);
    world.apply(two.id, back).await.unwrap();
}

pub(crate) async fn end_a_wait_with_the_deadline(world: &World) {
    let limit = limit(1, None);
    let (_, one) = world.claim_another(world.new_task()).await;
    let (_, two) = world.claim_another(world.new_task()).await;
    let first = append(&one, 1, vec![call(&limit, 0, None)]);
    world.apply(one.id, first).await.unwrap();
    let deadline = now(world).plus(5 * SECOND);
    let waiting = world
        .apply(two.id, waits(&two, &limit, Some(deadline)))
        .await;
    assert_eq!(waiting.unwrap().state.due(), Some(deadline));
}

pub(crate) async fn keep_lost_calls_and_correct_settled_ones(world: &World) {
    let limit = limit(1_000, Some(1_000));
    let (session, lost) = world.claim_another(world.new_task()).await;
    let (_, kept) = world.claim_another(world.new_task()).await;
    let begin = append(&lost, 1, vec![call(&limit, 100, None)]);
    world.apply(lost.id, begin).await.unwrap();
    let ahead = |state: ProviderState| (state.tokens_at.0 - now(world).0) / SECOND;
    assert_eq!(ahead(state(world).await), 6);
    world.store.close_session(session).await.unwrap();
    assert_eq!(ahead(state(world).await), 6, "nobody knows what it used");
    world.clock.advance(6);
    let begin = append(&kept, 1, vec![call(&limit, 200, None)]);
    let kept = world.apply(kept.id, begin).await.unwrap();
    assert_eq!(ahead(state(world).await), 12);
    let outcome = vec![step(101, StepStatus::Completed)];
    let mut done = Append::new(kept.seq, outcome, Next::Continue);
    done.provider = vec![ProviderEntry::Settle {
        limit: Arc::clone(&limit),
        reserved: 200,
        used: 50,
    }];
    let done = RunCommand::append(kept.epoch, done);
    world.apply(kept.id, done).await.unwrap();
    assert_eq!(ahead(state(world).await), 3);
}

pub(crate) async fn are_exact_in_parallel(world: &World) {
    let limit = limit(60, None);
    let mut lives = Vec::new();
    for _ in 0..8 {
        lives.push(world.claim_another(world.new_task()).await.1);
    }
    // 60 a minute: two at once.
    let limit = &limit;
    let callers = lives.iter().map(|life| async move {
        let begin = append(life, 1, vec![call(limit, 0, None)]);
        let begun = world.apply(life.id, begin).await;
        match begun.is_ok() {
            true => None,
            false => {
                assert!(is_refused(&begun), "{begun:?}");
                let waiting = world.apply(life.id, waits(life, limit, None)).await;
                Some(waiting.unwrap().state.due().unwrap())
            }
        }
    });
    let done = futures_util::future::join_all(callers).await;
    assert_eq!(done.iter().filter(|turn| turn.is_none()).count(), 2);
    let mut turns: Vec<Micros> = done.into_iter().flatten().collect();
    turns.sort_unstable();
    let distances = turns.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(
        distances.clone().all(|distance| distance >= MINUTE / 60),
        "{:?}",
        distances.collect::<Vec<_>>()
    );
}
