//! The ledgers of budgets: they change with the append that names them, or not at all.

use ops_core::{
    Append, Lifecycle, Next, Rejection, RunCommand, WaitRequest,
    budget::{Amount, BudgetEntry, Ledger, Most, Period, Window},
    event::StepStatus,
    ports::StoreError,
    rules::budget::{is_busy, window},
    task::StateName,
    time::SECOND,
};

use crate::world::{OTHER, TENANT, World, pair, step};

const DAY: i64 = 86_400;

fn tokens(tokens: u64) -> Amount {
    Amount {
        tokens,
        cost_micros: tokens * 2,
    }
}

fn reserve(budget: &str, period: Period, amount: u64, most: u64) -> BudgetEntry {
    BudgetEntry::Reserve {
        budget: budget.to_owned(),
        period,
        most: Most {
            tokens: Some(most),
            cost_micros: None,
        },
        amount: tokens(amount),
    }
}

fn settle(window: Window, reserved: u64, used: u64) -> BudgetEntry {
    BudgetEntry::Settle {
        window,
        reserved: tokens(reserved),
        used: tokens(used),
    }
}

fn append(life: &Lifecycle, number: u32, budget: Vec<BudgetEntry>) -> RunCommand {
    let mut append = Append::new(life.seq, pair(number), Next::Continue);
    append.budget = budget;
    RunCommand::append(life.epoch, append)
}

async fn used(world: &World, windows: &[Window]) -> Vec<u64> {
    let ledgers = world.store.ledgers(TENANT, windows.to_vec()).await.unwrap();
    ledgers
        .into_iter()
        .map(|ledger| ledger.used)
        .inspect(|used| assert_eq!(used.cost_micros, used.tokens * 2))
        .map(|used| used.tokens)
        .collect()
}

pub(crate) async fn reserve_with_the_intent_and_settle_with_the_outcome(world: &World) {
    let (_, life) = world.running().await;
    let all = window("all", Period::Total, life.updated_at);
    let windows = [all.clone()];
    assert_eq!(used(world, &windows).await, [0]);
    let first = append(&life, 1, vec![reserve("all", Period::Total, 60, 100)]);
    let life = world.apply(life.id, first.clone()).await.unwrap();
    assert_eq!(used(world, &windows).await, [60]);
    // A lost acknowledgement: the same append again changes nothing.
    let again = world.apply(life.id, first).await.unwrap();
    assert_eq!(
        (again.seq, used(world, &windows).await),
        (life.seq, vec![60])
    );
    let entries = vec![settle(all, 60, 25), reserve("all", Period::Total, 75, 100)];
    let life = world
        .apply(life.id, append(&life, 2, entries))
        .await
        .unwrap();
    assert_eq!(used(world, &windows).await, [100]);
    // A call that is lost keeps its reservation, and another tenant has its own ledger.
    let other = world.store.ledgers(OTHER, windows.to_vec()).await.unwrap();
    assert_eq!(other, [Ledger::default()]);
    let full = append(&life, 3, vec![reserve("all", Period::Total, 1, 100)]);
    let refused = world.apply(life.id, full).await.unwrap_err();
    let StoreError::Rejected(Rejection::Budget {
        budget, used, most, ..
    }) = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((budget.as_str(), used, most), ("all", 100, 100));
}

pub(crate) async fn are_refused_as_a_whole(world: &World) {
    let (_, life) = world.running().await;
    let windows = ["a", "b"].map(|name| window(name, Period::Total, life.updated_at));
    let entries = vec![
        reserve("a", Period::Total, 10, 100),
        reserve("b", Period::Total, 10, 9),
    ];
    let refused = world.apply(life.id, append(&life, 1, entries)).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(Rejection::Budget { .. }))),
        "{refused:?}"
    );
    assert_eq!(used(world, &windows).await, [0, 0]);
    assert_eq!(world.task(life.id).await.life, life, "no event was written");
    // A stale writer changes no ledger.
    let mut stale = append(&life, 1, vec![reserve("a", Period::Total, 10, 100)]);
    stale.epoch += 1;
    world.apply(life.id, stale).await.unwrap_err();
    assert_eq!(used(world, &windows).await, [0, 0]);
    let kept = append(&life, 1, vec![reserve("a", Period::Total, 10, 100)]);
    world.apply(life.id, kept).await.unwrap();
    assert_eq!(used(world, &windows).await, [10, 0]);
}

pub(crate) async fn begin_anew_with_each_window(world: &World) {
    let (_, life) = world.running().await;
    let day = |life: &Lifecycle| window("day", Period::Day, life.updated_at);
    let first = append(&life, 1, vec![reserve("day", Period::Day, 80, 100)]);
    let life = world.apply(life.id, first).await.unwrap();
    let today = day(&life);
    world.clock.advance(DAY);
    // The call of yesterday ends today: its window is that of yesterday.
    let entries = vec![
        settle(today.clone(), 80, 30),
        reserve("day", Period::Day, 90, 100),
    ];
    let life = world
        .apply(life.id, append(&life, 2, entries))
        .await
        .unwrap();
    let tomorrow = day(&life);
    assert_ne!(today, tomorrow);
    let both = [today, tomorrow];
    assert_eq!(used(world, &both).await, [30, 90]);
    // Windows go after a while.
    world.clock.advance(401 * DAY);
    let last = append(&life, 3, vec![reserve("day", Period::Day, 5, 100)]);
    let life = world.apply(life.id, last).await.unwrap();
    assert_eq!(used(world, &both).await, [0, 0]);
    assert_eq!(used(world, &[day(&life)]).await, [5]);
}

pub(crate) async fn are_exact_in_parallel(world: &World) {
    let mut lives = Vec::new();
    for _ in 0..8 {
        lives.push(world.claim_another(world.new_task()).await.1);
    }
    // 8 writers ask for 5 times 10 of 250, and settle every second one with 3: some are refused.
    let writers = lives.into_iter().map(|mut life| async move {
        let (mut kept, mut refused) = (0, 0);
        for number in 1..=5 {
            let entry = reserve("all", Period::Total, 10, 250);
            match world
                .apply(life.id, append(&life, number, vec![entry]))
                .await
            {
                Ok(after) => life = after,
                Err(StoreError::Rejected(Rejection::Budget { .. })) => {
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("{error}"),
            }
            kept += 10;
            if number % 2 == 0 {
                let all = window("all", Period::Total, life.updated_at);
                let outcome = vec![step(100 + number, StepStatus::Completed)];
                let mut done = Append::new(life.seq, outcome, Next::Continue);
                done.budget = vec![settle(all, 10, 3)];
                let done = RunCommand::append(life.epoch, done);
                life = world.apply(life.id, done).await.unwrap();
                kept -= 7;
            }
        }
        (kept, refused)
    });
    let done = futures_util::future::join_all(writers).await;
    let kept: u64 = done.iter().map(|(kept, _)| kept).sum();
    let refused: u64 = done.iter().map(|(_, refused)| refused).sum();
    let all = window("all", Period::Total, world_time(world));
    assert_eq!(used(world, &[all]).await, [kept]);
    assert!(kept <= 250, "{kept}");
    assert!(refused > 0, "everything had room");
}

/// A call of another task is under way, and is settled or lost.
pub(crate) async fn tell_used_from_under_way(world: &World) {
    let all = window("all", Period::Total, world_time(world));
    let windows = [all.clone()];
    let under_way = || async {
        let ledgers = world.store.ledgers(TENANT, windows.to_vec()).await.unwrap();
        (ledgers[0].used.tokens, ledgers[0].under_way.tokens)
    };
    let (session, one) = world.claim_another(world.new_task()).await;
    let (_, other) = world.claim_another(world.new_task()).await;
    let (_, third) = world.claim_another(world.new_task()).await;
    let call = |life: &Lifecycle, amount| {
        append(life, 1, vec![reserve("all", Period::Total, amount, 100)])
    };
    world.apply(one.id, call(&one, 60)).await.unwrap();
    let other = world.apply(other.id, call(&other, 30)).await.unwrap();
    assert_eq!(under_way().await, (90, 90));
    let refused = world.apply(third.id, call(&third, 20)).await.unwrap_err();
    let StoreError::Rejected(refusal) = refused else {
        panic!("{refused}");
    };
    assert!(is_busy(&refusal), "{refusal}");
    // Of two calls one is settled, and the other is lost with its lease: its worst case is used.
    let outcome = vec![step(101, StepStatus::Completed)];
    let mut done = Append::new(other.seq, outcome, Next::Continue);
    done.budget = vec![settle(all.clone(), 30, 25)];
    let done = RunCommand::append(other.epoch, done);
    world.apply(other.id, done).await.unwrap();
    assert_eq!(under_way().await, (85, 60));
    world.store.close_session(session).await.unwrap();
    assert_eq!(under_way().await, (85, 0));
    let refused = world.apply(third.id, call(&third, 20)).await.unwrap_err();
    let StoreError::Rejected(refusal) = refused else {
        panic!("{refused}");
    };
    assert!(!is_busy(&refusal), "{refusal}");
    world.apply(third.id, call(&third, 15)).await.unwrap();
    assert_eq!(under_way().await, (100, 15));
    // The next holder of the lost call's task makes another call: the lost one stays used.
    let session = world.session().await;
    let again = world.claim(session, 1).await.remove(0).life;
    let mut rest = Append::new(again.seq, pair(3), Next::Continue);
    rest.budget = vec![reserve("wide", Period::Total, 5, 100)];
    let rest = RunCommand::append(again.epoch, rest);
    world.apply(again.id, rest).await.unwrap();
    assert_eq!(under_way().await, (100, 15));
}

fn wait(budget: &str, amount: u64, most: u64) -> BudgetEntry {
    BudgetEntry::Wait {
        budget: budget.to_owned(),
        period: Period::Total,
        most: Most {
            tokens: Some(most),
            cost_micros: None,
        },
        amount: tokens(amount),
    }
}

/// An append that has a task wait for room.
fn parked(world: &World, life: &Lifecycle, entries: Vec<BudgetEntry>) -> RunCommand {
    let wait = WaitRequest::Budget {
        limit: "budgets.all".to_owned(),
        message: "busy".to_owned(),
        until: Some(world_time(world).plus(60 * SECOND)),
    };
    let mut append = Append::new(life.seq, Vec::new(), Next::Wait(wait));
    append.budget = entries;
    RunCommand::append(life.epoch, append)
}

pub(crate) async fn wake_the_oldest_waiters_that_have_room(world: &World) {
    let all = window("all", Period::Total, world_time(world));
    let mut lives = Vec::new();
    for _ in 0..6 {
        lives.push(world.claim_another(world.new_task()).await.1);
    }
    let [caller, waiting @ .., other] = &lives[..] else {
        panic!("there are six");
    };
    let call = append(caller, 1, vec![reserve("all", Period::Total, 90, 100)]);
    let caller = world.apply(caller.id, call).await.unwrap();
    // The second asks for more than the settlement leaves, and the last waits for something else.
    for (life, asked) in waiting.iter().zip([30, 20, 60, 5]) {
        let parked = parked(world, life, vec![wait("all", asked, 100)]);
        world.apply(life.id, parked).await.unwrap();
    }
    let parked_other = parked(world, other, vec![wait("wide", 10, 5)]);
    world.apply(other.id, parked_other).await.unwrap();
    let states = || async {
        let mut states = Vec::new();
        for life in waiting.iter().chain([other]) {
            states.push(world.task(life.id).await.life.state.name());
        }
        states
    };
    let (waits, ready) = (StateName::Waiting, StateName::Pending);
    assert_eq!(states().await, [waits; 5]);
    let outcome = vec![step(102, StepStatus::Completed)];
    let mut done = Append::new(caller.seq, outcome, Next::Continue);
    done.budget = vec![settle(all.clone(), 90, 20)];
    let done = RunCommand::append(caller.epoch, done);
    let caller = world.apply(caller.id, done.clone()).await.unwrap();
    assert_eq!(states().await, [ready, ready, waits, waits, waits]);
    // A repeated append wakes no other.
    world.apply(caller.id, done).await.unwrap();
    assert_eq!(states().await, [ready, ready, waits, waits, waits]);
    // A wait that comes after the settlement that it waits for does not wait.
    let late = parked(world, &caller, vec![wait("all", 80, 100)]);
    world.apply(caller.id, late).await.unwrap();
    let late = world.task(caller.id).await.life.state.name();
    assert_eq!(late, ready, "it is the oldest, and has room");
    assert_eq!(states().await, [ready, ready, waits, waits, waits]);
}

fn world_time(world: &World) -> ops_core::Micros {
    ops_core::ports::Clock::now(&*world.clock)
}
