//! Faults on PostgreSQL: the binary is killed while its connections are cut, and the database dies under load.

use std::time::Duration;

use ops_testkit::{
    Opspawn,
    postgres::{Database, Private, Server},
    wait_until,
};
use serde_json::Value;

use super::{
    checks::{Seen, Witnesses},
    fleet::Fleet,
    history,
    kills::{finish, verify},
    plan::{Job, Luck},
    world::{World, complete_all, in_doubt, submit, task},
};

const SEED: u64 = 20_261_130;
const TASKS: usize = 60;
const KILLS: u64 = 15;
/// Deaths of the database.
const DEATHS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(90);

/// A counter of the product's, by its name in `/metrics`.
async fn counted(server: &Opspawn, name: &str) -> u64 {
    let text = server.http().get("/metrics").await.unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {text}"))
}

mod postgres_15 {
    use super::*;

    /// A lease of a second is shorter than some breaks between heartbeats, so that leases are lost in a living
    /// process as well.
    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn kills_lose_nothing_and_repeat_no_write() {
        let seed = std::env::var("OPSPAWN_TEST_SEED").ok();
        let seed = seed.map_or(SEED, |seed| seed.parse().unwrap());
        println!("seed {seed}: set OPSPAWN_TEST_SEED to try another");
        let database = Database::create(Server::Postgres15);
        let world = World::slow(8, 8).await.unwrap();
        let launch = world
            .launch()
            .env("OPSPAWN_CONCURRENCY", "4")
            .env("OPSPAWN_LEASE", "1s")
            .env("OPSPAWN_STORE_URL", database.url());
        let mut fleet = Fleet::new(Luck(seed));
        let mut cut = 0;
        for kill in 0..KILLS {
            let mut server = launch.start().await.unwrap();
            let http = server.http().clone();
            let after = Duration::from_millis(1_200 + 150 * (kill % 7));
            let work = async {
                tokio::join!(fleet.work(&world, &http, false), async {
                    loop {
                        tokio::time::sleep(Duration::from_millis(400)).await;
                        cut += database
                            .query(
                                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
                            )
                            .len();
                    }
                })
            };
            let died = tokio::time::timeout(after, work).await;
            assert!(
                died.is_err(),
                "the product died by itself\n{}",
                server.output()
            );
            server.sigkill().unwrap();
        }
        assert!(
            cut > 20,
            "the fault did not land: {cut} connections were cut"
        );
        let mut server = launch.start().await.unwrap();
        finish(&world, &mut fleet, &server, TASKS).await.unwrap();
        let (report, _) = verify(&world, &fleet, &server).await.unwrap();
        println!("{KILLS} kills, {cut} connections cut; {report}");
        let stopped = server.stop(TIMEOUT).await;
        assert!(stopped.unwrap().success());
    }

    /// The database dies as in a power cut, and comes back: the server goes on without a restart.
    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_database_that_dies_under_load_loses_nothing() {
        let mut database = Private::start().await.unwrap();
        let world = World::slow(8, 8).await.unwrap();
        let launch = world
            .launch()
            .env("OPSPAWN_CONCURRENCY", "4")
            .env("OPSPAWN_LEASE", "2s")
            .env("OPSPAWN_STORE_URL", database.url());
        let mut server = launch.start().await.unwrap();
        let mut luck = Luck(SEED);
        let (mut jobs, mut ids) = (Vec::new(), Vec::new());
        let mut effects = 0;
        for death in 0..DEATHS {
            for _ in 0..4 {
                let job = Job::mixed(jobs.len(), &mut luck);
                ids.push(submit(server.http(), &job).await.unwrap());
                jobs.push(job);
            }
            // It dies in the middle of work, and not before.
            let busy = wait_until("effects", TIMEOUT, || async {
                let now = world.ledger.effects().ok()?.len();
                (now >= effects + 3).then_some(now)
            });
            effects = busy.await.unwrap();
            database.die().await.unwrap();
            // A submit meanwhile is acknowledged when it is on disk, or may be sent again.
            let job = Job::mixed(jobs.len(), &mut luck);
            let asked = async {
                wait_until("the submit", TIMEOUT, || async {
                    submit(server.http(), &job).await.ok()
                })
                .await
            };
            let back = async {
                if death % 2 == 1 {
                    // The product sees a database that is not there: it says so, and stays.
                    let told = wait_until("the fault in /ready", TIMEOUT, || async {
                        let ready = server.http().get("/ready").await.ok()?;
                        (ready.status.as_u16() == 503).then_some(())
                    });
                    told.await.unwrap();
                    let health = server.http().get("/health").await.unwrap();
                    assert_eq!(health.status.as_u16(), 200);
                }
                database.restart().await.unwrap();
            };
            let (asked, ()) = tokio::join!(asked, back);
            ids.push(asked.unwrap());
            jobs.push(job);
            let well = wait_until("/ready", TIMEOUT, || async {
                let ready = server.http().get("/ready").await.ok()?;
                (ready.status.as_u16() == 200).then_some(())
            });
            well.await.unwrap();
        }
        complete_all(server.http(), &ids, TIMEOUT).await.unwrap();
        assert!(in_doubt(server.http()).await.unwrap().is_empty());
        let witnesses = Witnesses::of(&world).unwrap();
        for (job, id) in jobs.iter().zip(&ids) {
            let shown: Value = task(server.http(), id).await.unwrap();
            let history = history::read(server.http(), id).await.unwrap();
            let wrong = witnesses.findings((job, id), &shown, &history, &Seen::new());
            assert!(wrong.is_empty(), "{wrong:#?}");
        }
        assert_eq!(witnesses.writes_again(), 0);
        // Each death took every connection with it.
        let made = counted(&server, "opspawn_store_connections_total").await;
        assert!(made > DEATHS as u64, "{made} connections");
        let retried = counted(&server, "opspawn_store_retries_total").await;
        assert!(retried >= DEATHS as u64, "{retried} retries");
        println!(
            "{DEATHS} deaths of the database, {} tasks; {made} connections, {retried} retries",
            ids.len()
        );
        let stopped = server.stop(TIMEOUT).await;
        assert!(stopped.unwrap().success());
    }
}
