//! The ledgers of budgets: they change with the append that names them, or not at all.

use ops_core::{
    Append, Lifecycle, Next, Rejection, RunCommand,
    budget::{Amount, BudgetEntry, Most, Period, Window},
    event::StepStatus,
    ports::StoreError,
    rules::budget::window,
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
    assert_eq!(other, [Amount::default()]);
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

fn world_time(world: &World) -> ops_core::Micros {
    ops_core::ports::Clock::now(&*world.clock)
}
