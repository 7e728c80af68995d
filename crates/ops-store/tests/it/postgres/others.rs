//! Other processes on the same database: two stores, as two processes have them.

use std::{sync::Arc, time::Duration};

use ops_core::{
    TaskAction, TaskId,
    ports::{RunStore as _, TaskStore as _, UpkeepStore as _},
    stats::Value,
};
use ops_store::postgres::{PostgresStore, Time};
use ops_testkit::wait_until;

use super::{Database, Server, open_in};
use crate::world::{World, pair};

const TIMEOUT: Duration = Duration::from_secs(60);

fn open(database: &Database, ttl: Duration) -> (World, Arc<PostgresStore>) {
    open_in(database, |options| {
        options.time = Time::Database;
        options.shared = true;
        options.session_ttl = ttl;
    })
}

fn counted(store: &PostgresStore, name: &str) -> u64 {
    let stats = store.stats();
    let metric = stats.metrics.iter().find(|metric| metric.name == name);
    match metric.map(|metric| &metric.value) {
        Some(Value::Counter(count)) => *count,
        _ => panic!("there is no {name}"),
    }
}

/// Submits tasks here until one is heard of there: only a notification tells of a task.
async fn is_told(here: &World, there: &World) -> TaskId {
    let told = wait_until("news of a task", TIMEOUT, || async {
        let task = here.submit().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        there.seen.changed(task).then_some(task)
    });
    told.await.unwrap()
}

mod postgres_15 {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn tells_of_work_logs_and_interrupts_and_goes_on_after_a_cut() {
        let database = Database::create(Server::Postgres15);
        let (here, first) = open(&database, TIMEOUT);
        let (there, second) = open(&database, TIMEOUT);
        is_told(&here, &there).await;
        is_told(&there, &here).await;
        assert!(there.seen.ready().contains(&"default".to_owned()));
        assert!(counted(&second, "opspawn_store_notifications_heard") > 0);
        assert!(counted(&first, "opspawn_store_notifications_sent") > 0);

        let (session, life) = there.claim_another(there.new_task()).await;
        here.apply(life.id, TaskAction::Cancel).await.unwrap();
        // Nothing in the second process knows of it but by the notification.
        let rung = tokio::time::timeout(TIMEOUT, second.interrupted(session)).await;
        rung.expect("the session is told");
        let reply = second.heartbeat(session).await.unwrap();
        assert_eq!(reply.cancel.len(), 1);

        let cut = database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'opspawn listen'",
        );
        assert_eq!(cut.len(), 2, "the fault did not land");
        is_told(&here, &there).await;
        is_told(&there, &here).await;
        let well = wait_until("no warning of notifications", TIMEOUT, || async {
            let warnings = [&first, &second].map(|store| store.health().warnings);
            let text = warnings.concat().concat();
            (!text.contains("notifications")).then_some(())
        });
        well.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn an_idle_session_costs_no_transactions_and_a_busy_one_beats() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open(&database, TIMEOUT);
        let session = world.session().await;
        let commits = || counted(&store, "opspawn_store_commits");
        let idle = wait_until("an idle session", TIMEOUT, || async {
            let before = commits();
            for _ in 0..5 {
                store.heartbeat(session).await.unwrap();
                store.expire_sessions().await.unwrap();
                store.ready_queues().await.unwrap();
            }
            (commits() == before).then_some(())
        });
        idle.await.unwrap();

        world.submit().await;
        let claimed = world.claim(session, 1).await;
        let before = commits();
        store.heartbeat(session).await.unwrap();
        store.heartbeat(session).await.unwrap();
        assert!(
            commits() >= before + 2,
            "a lease holder's beats are written"
        );
        world
            .append(&claimed[0].life, pair(1), ops_core::Next::Continue)
            .await
            .unwrap();
    }

    /// A process that dies leaves its lease to the looks of another one. An idle session outlives its time, and a
    /// claim of it begins a lease that is whole.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn leases_of_a_process_that_died_are_taken_back_and_idle_sessions_live() {
        let database = Database::create(Server::Postgres15);
        let ttl = Duration::from_secs(2);
        let (living, store) = open(&database, ttl);
        let idle = living.session().await;
        store.heartbeat(idle).await.unwrap();
        let (dead, gone) = open(&database, ttl);
        let (_, life) = dead.running().await;
        gone.close();
        let back = wait_until("the lease", TIMEOUT, || async {
            store.expire_sessions().await.unwrap();
            let life = living.task(life.id).await.life;
            (life.lease_losses == 1).then_some(())
        });
        back.await.unwrap();
        // Longer ago than the time of a session that holds a lease.
        database.query(
            "UPDATE opspawn.sessions SET last_heartbeat = last_heartbeat - 10000000 RETURNING 1",
        );
        let looks = counted(&store, "opspawn_store_looks");
        let looked = wait_until("a look", TIMEOUT, || async {
            store.expire_sessions().await.unwrap();
            (counted(&store, "opspawn_store_looks") > looks + 1).then_some(())
        });
        looked.await.unwrap();
        let claimed = living.claim(idle, 1).await;
        assert_eq!(claimed.len(), 1, "the idle session is not over");
        let beat = database.query(
            "SELECT 1 FROM opspawn.sessions WHERE \
             (extract(epoch FROM clock_timestamp()) * 1000000)::int8 - last_heartbeat < 9000000",
        );
        assert_eq!(beat.len(), 1, "the claim has renewed the session");
    }

    /// A task whose date only a process knew that is gone is moved on by another one.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn dates_that_were_missed_are_told() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open(&database, TIMEOUT);
        let task = world.submit().await;
        assert_eq!(world.seen.overdue(), 0);
        database.query(
            "UPDATE opspawn.tasks SET state = 'scheduled', \
             due_at = (extract(epoch FROM clock_timestamp()) * 1000000)::int8 - 60000000 RETURNING 1",
        );
        let told = wait_until("a missed date", TIMEOUT, || async {
            (world.seen.overdue() > 0).then_some(())
        });
        told.await.unwrap();
        assert_eq!(store.wake_due(10).await.unwrap().woken, 1);
        assert_eq!(
            world.task(task).await.life.state,
            crate::world::state::pending()
        );
    }
}

mod pgbouncer_15 {
    use super::*;

    /// A pooler passes no notifications on: the operator is told, and looks find the work.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_pooler_without_notifications_is_told_and_work_is_found() {
        let database = Database::create(Server::PgBouncer15);
        let (here, _first) = open(&database, TIMEOUT);
        let (there, second) = open(&database, TIMEOUT);
        here.submit().await;
        let found = wait_until("work and a warning", TIMEOUT, || async {
            let warned = second.health().warnings;
            let warned = warned.iter().any(|text| text.contains("store.notify_url"));
            (warned && there.seen.ready().contains(&"default".to_owned())).then_some(())
        });
        found.await.unwrap();
    }
}
