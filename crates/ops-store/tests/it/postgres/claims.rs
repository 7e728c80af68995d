//! The cost of a claim.

mod postgres_15 {
    use std::time::{Duration, Instant};

    use ops_core::ports::ClaimRequest;
    use ops_testkit::{
        postgres::{Database, Server},
        wait_until,
    };

    use crate::{postgres::open_in, world::OTHER};

    /// Ready tasks. One of them is of another tenant.
    const BACKLOG: usize = 4_000;
    const CLAIMS: i64 = 20;

    /// Rows of tasks that were read without an index by connections that have ended: each tells its counts at its end.
    async fn scanned(database: &Database) -> i64 {
        let ended = wait_until(
            "the store's connections end",
            Duration::from_secs(20),
            || async {
                let sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
                database.query(sql).is_empty().then_some(())
            },
        );
        ended.await.unwrap();
        let sql = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'tasks'";
        database.query(sql)[0].get(0)
    }

    /// A claim takes steps in an index, however many tasks are ready: it once sorted all of them.
    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_claim_reads_no_backlog() {
        let database = Database::create(Server::Postgres15);
        let (world, store) = open_in(&database, |_| {});
        let mut new: Vec<_> = (0..BACKLOG).map(|_| world.new_task()).collect();
        new[BACKLOG - 1].task.tenant = OTHER;
        for accepted in world.store.submit_all(new).await {
            accepted.unwrap();
        }
        drop((world, store));
        database.query("ANALYZE opspawn.tasks");
        let before = scanned(&database).await;
        let (world, store) = open_in(&database, |_| {});
        let session = world.session().await;
        let (mut after, mut others) = (None, 0);
        let begun = Instant::now();
        for _ in 0..CLAIMS {
            let request = ClaimRequest {
                session,
                queue: "default".into(),
                max: 4,
                rate: None,
                after,
            };
            let claimed = world.store.claim(request).await.unwrap().tasks;
            assert_eq!(claimed.len(), 4);
            others += claimed
                .iter()
                .filter(|task| task.task.tenant == OTHER)
                .count();
            after = claimed.last().map(|task| task.task.tenant);
        }
        println!("{CLAIMS} claims in {:?}", begun.elapsed());
        assert_eq!(others, 1, "the other tenant has its turn");
        drop((world, store));
        let read = scanned(&database).await - before;
        assert!(
            read < i64::try_from(BACKLOG).unwrap(),
            "{read} rows were scanned"
        );
    }
}
