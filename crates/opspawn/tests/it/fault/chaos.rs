//! All faults at once, on a whole system: two servers and three workers, PostgreSQL and RabbitMQ of their own.
//!
//! Processes are killed and frozen, the database dies or is restarted, connections are cut, the broker stops,
//! its messages are doubled and purged. Lanes of faults run beside one another, in step with the work:
//! faults land from the first task to the last, and not on an idle system. The witnesses and the client are
//! outside of the product, and each fault proves that it landed.
//!
//! `cargo xtask chaos --seed N --tasks N ..` runs the same test with other numbers.

mod client;
mod cluster;
mod lanes;
mod plan;

use self::{
    client::Client,
    cluster::Cluster,
    lanes::{Landed, Progress},
    plan::Plan,
};
use super::plan::Luck;

/// A worker's claim must not outlive a freeze.
const LEASE: &str = "2s";
/// The share of tasks that complete. The others have failed, as a task may that loses worker after worker.
const COMPLETED_PERCENT: usize = 95;
/// A process that is frozen between its check of the lease and a call makes the call when it goes on. It takes more
/// luck than this share of all freezes has.
const LATE_PERCENT: usize = 10;
/// Of so many freezes, one at least hits a worker that wants to write when it goes on.
const FREEZES_WITH_STALE_WRITES: usize = 20;

async fn everything_at_once(plan: &Plan) {
    println!("{plan}: set OPSPAWN_CHAOS to try another");
    let began = std::time::Instant::now();
    let (cluster, mut database) = Cluster::start(LEASE).await.unwrap();
    let mut luck = Luck(plan.seed);
    let progress = Progress::new(plan);
    let decks = plan.decks(cluster.members.len(), &mut luck);
    let mut client = Client::new(&cluster, plan, &progress, Luck(plan.seed + 1));
    let members = cluster.members.iter().zip(decks).zip(10..);
    let members = members.map(|((member, deck), number)| {
        lanes::disturb(member, deck, &progress, Luck(plan.seed + number))
    });
    let faults = async {
        let (members, database, broker, cuts) = tokio::try_join!(
            futures_util::future::try_join_all(members),
            lanes::restart_database(&mut database, &cluster, plan, &progress),
            lanes::restart_broker(&cluster, plan, &progress),
            lanes::cut(&cluster, plan, &progress),
        )?;
        let mut landed = Landed::default();
        for lane in members.into_iter().chain([database, broker, cuts]) {
            landed.add(lane);
        }
        progress.faults_are_over.set(true);
        anyhow::Ok(landed)
    };
    let landed = match tokio::try_join!(faults, client.work()) {
        Ok((landed, ())) => landed,
        Err(error) => panic!("{plan}: {error:?}\n{}", cluster.outputs().await),
    };
    let verdict = client.verify(landed.thaws.clone()).await.unwrap();
    let counters = cluster.stop().await.unwrap();
    println!(
        "chaos: {plan}\n{landed}\n{}\n{} stale writes refused, {} retries of the store, {} messages received; {:.0} s",
        verdict.report,
        counters.stale_writes,
        counters.retries,
        counters.received,
        began.elapsed().as_secs_f64()
    );
    let wrong = &verdict.wrong;
    assert!(wrong.is_empty(), "{plan}: {}", wrong.join("\n"));
    assert!(counters.panics.is_empty(), "{:?}", counters.panics);
    assert_eq!(
        (landed.kills, landed.freezes, landed.broker_restarts),
        (plan.kills, plan.freezes, plan.broker_restarts)
    );
    let restarts = landed.database_deaths + landed.database_shutdowns;
    assert_eq!((restarts, landed.cuts), (plan.database_restarts, plan.cuts));
    assert!(
        plan.kills + plan.freezes == 0 || verdict.losses > 0,
        "no fault cost a lease"
    );
    assert!(
        verdict.completed * 100 >= verdict.tasks * COMPLETED_PERCENT,
        "{} of {} tasks completed",
        verdict.completed,
        verdict.tasks
    );
    assert!(
        verdict.late <= plan.freezes * LATE_PERCENT / 100 + 1,
        "{} calls after a thaw",
        verdict.late
    );
    assert!(
        counters.stale_writes > 0 || plan.freezes < FREEZES_WITH_STALE_WRITES,
        "no stale write was refused"
    );
}

mod rabbitmq {
    mod postgres_15 {
        use super::super::{Plan, everything_at_once};

        #[tokio::test]
        #[ignore = "needs PostgreSQL and RabbitMQ: run by cargo xtask test --install"]
        async fn all_faults_at_once_lose_nothing_and_repeat_no_write() {
            everything_at_once(&Plan::from_env()).await;
        }
    }
}
