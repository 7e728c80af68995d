//! Connections that are lost, and transactions that are in one another's way.

use std::time::Duration;

use ops_core::{Next, RunCommand, event::StepStatus, ports::StoreError};

use super::{Database, Server, open_in};
use crate::world::{TENANT, append, json, pair, step};

mod postgres_15 {
    use super::*;

    /// Ends every connection of the store.
    fn cut(database: &Database) -> usize {
        let cut = database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        cut.len()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn goes_on_after_its_connections_were_cut() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open_in(&database, |_| {});
        let (_, mut life) = world.running().await;
        let mut cuts = 0;
        for number in 1..=20 {
            life = world
                .append(&life, pair(number), Next::Continue)
                .await
                .unwrap();
            if number % 5 == 0 {
                cuts += cut(&database);
            }
        }
        assert!(cuts >= 4, "the fault did not land");
        let events = world.events(life.id).await;
        let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=life.seq).collect::<Vec<_>>());
        assert_eq!(world.store.health().failure, None);
        drop((world, store));
    }

    /// A commit whose answer is lost took place once: the store asks the database about it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn writes_nothing_twice_while_connections_are_cut() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open_in(&database, |_| {});
        let (_, life) = world.running().await;
        let appending = {
            let store = store.clone();
            tokio::spawn(async move {
                use ops_core::ports::RunStore as _;
                let mut life = life;
                for number in 1..=200 {
                    let command: RunCommand = append(&life, pair(number), Next::Continue);
                    life = store
                        .record(TENANT, life.id, command, Vec::new())
                        .await
                        .unwrap();
                }
                life
            })
        };
        let mut cuts = 0;
        while !appending.is_finished() {
            cuts += cut(&database);
            // Ever later: where a connection takes long to make, the store would get nowhere else.
            tokio::time::sleep(Duration::from_millis(15 + cuts as u64)).await;
        }
        let life = appending.await.unwrap();
        assert!(cuts > 3, "the fault did not land");
        let kinds = world.kinds(life.id).await;
        let done = step(1, StepStatus::Completed).kind;
        assert_eq!(kinds.iter().filter(|kind| **kind == done).count(), 200);
        drop((world, store));
    }

    /// A caller who goes away leaves no transaction open.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_dropped_request_leaves_no_transaction_open() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open_in(&database, |_| {});
        for number in 0..200_u64 {
            let submit = world.store.submit(world.new_task());
            let wait = Duration::from_micros(number * 20);
            let _ = tokio::time::timeout(wait, submit).await;
        }
        world.submit().await;
        let open = database.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
             AND state LIKE 'idle in transaction%'",
        );
        assert!(open.is_empty());
        drop((world, store));
    }

    /// Trap ahead/19: the isolation level is the store's own, whatever the database says.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn chooses_its_isolation_level_itself() {
        let database = Database::create(Server::Postgres15);
        database.query(&format!(
            "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'",
            database.name
        ));
        let (world, store) = open_in(&database, |_| {});
        let mut submits = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (store, new) = (world.store.clone(), world.new_task());
            submits.spawn(async move { store.submit(new).await });
        }
        for submitted in submits.join_all().await {
            submitted.unwrap();
        }
        drop((world, store));
    }

    /// Two servers claim at once what only one of them may have.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn two_stores_run_one_task_of_a_key() {
        let database = Database::create(Server::Postgres15);
        let ((one, _), (other, _)) = (open_in(&database, |_| {}), open_in(&database, |_| {}));
        let sessions = [one.session().await, other.session().await];
        for round in 0..30 {
            for _ in 0..2 {
                let mut new = one.new_task();
                new.task.concurrency_key = Some(format!("key {round}"));
                one.submit_new(new).await;
            }
            let (left, right) =
                tokio::join!(one.claim(sessions[0], 1), other.claim(sessions[1], 1));
            let taken = left.len() + right.len();
            assert!(taken <= 1, "round {round}: both have the key");
            for record in left.into_iter().chain(right) {
                let next = Next::Complete { result: json("1") };
                one.append(&record.life, Vec::new(), next).await.unwrap();
            }
            for session in sessions {
                for record in one.claim(session, 9).await {
                    let next = Next::Complete { result: json("1") };
                    one.append(&record.life, Vec::new(), next).await.unwrap();
                }
            }
        }
    }

    #[cfg(feature = "failpoints")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_commit_whose_answer_is_lost_is_found_done() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open_in(&database, |_| {});
        fail::cfg("postgres.lost_commit", "1*return").unwrap();
        let new = world.new_task();
        let submitted = world.store.submit(new.clone()).await.unwrap();
        assert_eq!(submitted.record.task.id, new.task.id);
        assert!(
            fail::list()
                .iter()
                .any(|(name, _)| name == "postgres.lost_commit")
        );
        assert_eq!(world.kinds(new.task.id).await, ["task.submitted"]);
        drop((world, store));
    }

    /// Somebody who holds no lock changes a task between its load and its update.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn an_update_names_the_event_that_it_was_decided_on() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open_in(&database, |options| {
            options.patience = Duration::from_millis(200);
        });
        let (_, life) = world.running().await;
        // An update that changes no row is what one meets whose row has another event by now.
        database.query(
            "CREATE FUNCTION opspawn.meddle() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RETURN NULL; END $$",
        );
        database.query(
            "CREATE TRIGGER meddle BEFORE UPDATE ON opspawn.tasks FOR EACH ROW \
             EXECUTE FUNCTION opspawn.meddle()",
        );
        let refused = world.append(&life, pair(1), Next::Continue).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable(_))),
            "{refused:?}"
        );
        database.query("DROP TRIGGER meddle ON opspawn.tasks");
        assert_eq!(world.kinds(life.id).await.len(), 2);
        world.append(&life, pair(1), Next::Continue).await.unwrap();
        drop((world, store));
    }
}
