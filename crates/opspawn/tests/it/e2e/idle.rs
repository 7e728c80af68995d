//! Workers that have nothing to do, and what they cost the database.

mod postgres_15 {
    use std::time::Duration;

    use ops_testkit::{
        Launch, Opspawn,
        postgres::{Private, ask},
    };

    use crate::e2e::test_dir::TestDir;

    /// Started at a time.
    const TOGETHER: usize = 4;
    /// Transactions a second of all processes: about four looks, and what is left over from their start.
    const MAX_RATE: f64 = 5.0;
    /// The breaks between looks differ by a quarter from process to process, which shows with few of them.
    const MAX_RATE_OF_FEW: f64 = 8.0;

    async fn transactions(url: &str) -> i64 {
        let sql = "SELECT (xact_commit + xact_rollback)::int8 FROM pg_stat_database \
            WHERE datname = current_database()";
        ask(url, sql).await.unwrap()[0].get(0)
    }

    /// `OPSPAWN_IDLE_WORKERS=100` starts more of them, and measures for longer.
    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn idle_workers_cost_the_database_little() {
        let workers = std::env::var("OPSPAWN_IDLE_WORKERS").ok();
        let workers: usize = workers.map_or(6, |number| number.parse().unwrap());
        let (settle, measure, most) = match workers {
            ..20 => (10, 15, MAX_RATE_OF_FEW),
            _ => (90, 120, MAX_RATE),
        };
        let dir = TestDir::new();
        let database = Private::start().await.unwrap();
        let mut running: Vec<Opspawn> = Vec::new();
        let numbers: Vec<usize> = (0..workers).collect();
        for numbers in numbers.chunks(TOGETHER) {
            let starts = numbers.iter().map(|number| {
                let folder = dir.join(&format!("worker-{number}"));
                std::fs::create_dir(&folder).unwrap();
                let launch = Launch::new("worker", folder)
                    .timeout(Duration::from_secs(90))
                    .args(["--health-listen", "127.0.0.1:0"])
                    .env("OPSPAWN_PROVIDER", "scripted")
                    .env("DATABASE_URL", database.url());
                async move { launch.start().await.unwrap() }
            });
            running.extend(futures_util::future::join_all(starts).await);
        }
        // What a start asks is over, and each knows of all the others.
        tokio::time::sleep(Duration::from_secs(settle)).await;
        let (began, before) = (
            std::time::Instant::now(),
            transactions(&database.url()).await,
        );
        tokio::time::sleep(Duration::from_secs(measure)).await;
        let made = transactions(&database.url()).await - before;
        let rate = made as f64 / began.elapsed().as_secs_f64();
        let sessions = "SELECT count(*) FROM opspawn.sessions WHERE NOT over";
        let alive: i64 = ask(&database.url(), sessions).await.unwrap()[0].get(0);
        println!("{workers} idle workers: {rate:.2} transactions a second, {made} in all");
        assert_eq!(
            usize::try_from(alive).unwrap(),
            workers,
            "sessions that are alive"
        );
        assert!(rate <= most, "{rate} transactions a second");
        // As many as there are processes, or nothing was measured.
        assert!(made > 0, "no process looked at the database");
        for process in &mut running {
            assert!(process.process().exited().unwrap().is_none());
        }
    }
}
