//! The kill test: SIGKILL at every place of a task's way, over and over.

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt as _, time::Duration};

use anyhow::{Context as _, ensure};
use ops_testkit::{CrashPlan, Launch, Opspawn};

use super::{
    checks::Witnesses,
    deck::{CRASH_POINTS, EACH, Kill, deck},
    fleet::{Entry, Fleet, Found},
    history,
    plan::Luck,
    world::{World, task},
};

/// The seed, unless `OPSPAWN_TEST_SEED` says another.
const SEED: u64 = 20_260_101;
const TASKS: usize = 100;
/// A kill that takes longer than this does not come.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn kills_lose_nothing_and_repeat_no_write() {
    let seed = std::env::var("OPSPAWN_TEST_SEED").ok();
    let seed = seed.map_or(SEED, |seed| seed.parse().unwrap());
    println!("seed {seed}: set OPSPAWN_TEST_SEED to try another");
    let world = World::slow(8, 8).await.unwrap();
    let mut luck = Luck(seed);
    let deck = deck(&mut luck);
    let mut fleet = Fleet::new(luck);

    let launch = world.launch().env("OPSPAWN_CONCURRENCY", "4");
    let mut points: BTreeMap<String, usize> = BTreeMap::new();
    let mut wild = 0;
    for (index, kill) in deck.iter().enumerate() {
        let about = || format!("seed {seed}, kill {index} of {}: {kill:?}", deck.len());
        match *kill {
            Kill::Point(point, hit) => {
                let plan = CrashPlan::new(point, hit, world.crash_log());
                let eager = point.starts_with("submit");
                let died = die_at(&world, &mut fleet, launch.clone(), &plan, eager).await;
                died.with_context(about).unwrap();
                *points.entry(point.to_owned()).or_default() += 1;
            }
            Kill::Wild(after) => {
                let mut server = launch.start().await.with_context(about).unwrap();
                let http = server.http().clone();
                let after = Duration::from_millis(after);
                let work = tokio::time::timeout(after, fleet.work(&world, &http, false)).await;
                assert!(
                    work.is_err(),
                    "the product died by itself: {work:?}\n{}",
                    server.output()
                );
                server.sigkill().unwrap();
                wild += 1;
            }
        }
    }
    let mut server = launch.start().await.unwrap();
    finish(&world, &mut fleet, &server, TASKS)
        .await
        .with_context(|| format!("seed {seed}"))
        .unwrap();
    let (report, resolved) = verify(&world, &fleet, &server).await.unwrap();
    assert!(fleet.entries.len() >= TASKS, "{report}");
    assert_eq!(resolved, 3, "not every resolution was needed: {report}");
    assert!(server.stop(TIMEOUT).await.unwrap().success());

    // What the crash log says, not what was planned.
    let mut fired: BTreeMap<String, usize> = BTreeMap::new();
    for point in CrashPlan::new("", 1, world.crash_log()).fired().unwrap() {
        *fired.entry(point).or_default() += 1;
    }
    assert_eq!(fired, points);
    let places = CRASH_POINTS.map(|(test_dir, points)| {
        let counts: Vec<usize> = points.iter().map(|point| fired[*point]).collect();
        assert!(
            counts.iter().all(|count| *count > 0),
            "{test_dir}: {counts:?}"
        );
        let count: usize = counts.iter().sum();
        assert!(count >= EACH, "{test_dir}: {count}");
        format!("{test_dir} {count}")
    });
    println!(
        "kills: {} ({}; {} around model calls; {wild} anywhere); {report}",
        deck.len(),
        places.join(", "),
        fired["model.after_intent"] + fired["model.after_call"],
    );
}

/// The kill that the test above meets now and then, when nothing is left to submit: it cut the last
/// submit, whose client was told neither yes nor no.
#[tokio::test]
async fn a_submit_that_the_last_kill_cut_is_sent_again() {
    for point in CRASH_POINTS[0].1 {
        let world = World::slow(8, 8).await.unwrap();
        let mut fleet = Fleet::new(Luck(SEED));
        let launch = world.launch();
        let plan = CrashPlan::new(*point, 3, world.crash_log());
        let died = die_at(&world, &mut fleet, launch.clone(), &plan, true).await;
        died.unwrap();
        let tasks = fleet.entries.len();
        let unsure = |entry: &&Entry| entry.id.is_none();
        assert_eq!(fleet.entries.iter().filter(unsure).count(), 1, "{point}");

        let server = launch.start().await.unwrap();
        finish(&world, &mut fleet, &server, tasks).await.unwrap();
        assert_eq!(fleet.entries.len(), tasks, "{point}");
        for Entry { job, ended, .. } in &fleet.entries {
            assert_eq!(ended.as_deref(), Some("completed"), "{}", job.name);
        }
    }
}

/// Starts the product with a crash point, and works with it until it has killed itself there.
async fn die_at(
    world: &World,
    fleet: &mut Fleet,
    launch: Launch,
    plan: &CrashPlan,
    eager: bool,
) -> anyhow::Result<()> {
    let before = plan.fired()?.len();
    match launch.crash(plan).start().await {
        Ok(mut server) => {
            let http = server.http().clone();
            let work = async {
                fleet.work(world, &http, eager).await?;
                std::future::pending().await
            };
            let status = tokio::select! {
                biased;
                status = server.wait_exit(TIMEOUT) => status?,
                failed = work => return failed,
            };
            ensure!(status.signal() == Some(9), "{status}\n{}", server.output());
        }
        // It may get there before it says that it is ready.
        Err(error) => ensure!(plan.fired()?.len() > before, "{error:?}"),
    }
    ensure!(
        plan.fired()?.len() == before + 1,
        "a kill that nothing tells of"
    );
    Ok(())
}

/// Submits what is missing to so many tasks, and waits until every task has ended. A submit that a
/// kill cut counts among them, and is sent again whatever their number.
pub(super) async fn finish(
    world: &World,
    fleet: &mut Fleet,
    server: &Opspawn,
    tasks: usize,
) -> anyhow::Result<()> {
    let http = server.http();
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let eager = fleet.entries.len() < tasks;
        let found = if eager {
            fleet.round(world, http, true).await?
        } else {
            fleet.settle(world, http).await?
        };
        ensure!(
            matches!(found, Found::There),
            "the product is gone:\n{}",
            server.output()
        );
        if !eager && fleet.going() == 0 {
            break;
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "{} tasks do not end",
            fleet.going()
        );
    }
    // Every job again: each is the task that it was.
    for at in 0..fleet.entries.len() {
        fleet.submit(http, at).await?;
    }
    Ok(())
}

/// Holds every task against the witnesses; gives the figures, and how many of the resolutions were needed.
pub(super) async fn verify(
    world: &World,
    fleet: &Fleet,
    server: &Opspawn,
) -> anyhow::Result<(String, usize)> {
    let witnesses = Witnesses::of(world)?;
    let http = server.http();
    let (mut completed, mut losses, mut repeats, mut steps) = (0, 0, 0, 0);
    let mut resolved: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in &fleet.entries {
        let id = entry.id.as_deref().context("a task without an id")?;
        let task = task(http, id).await?;
        let history = history::read(http, id).await?;
        completed += usize::from(task["state"] == "completed");
        losses += history.losses;
        repeats += history.repeats.values().map(Vec::len).sum::<usize>();
        steps += history.steps.len();
        wrong.extend(witnesses.findings((&entry.job, id), &task, &history, &fleet.seen));
        for step in history.steps.values() {
            for said in &step.resolutions {
                *resolved.entry(said.clone()).or_default() += 1;
            }
            wrong.extend(fleet.decisions.against(step, world).await?);
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} findings\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let tasks = fleet.entries.len();
    ensure!(completed == tasks, "{completed} of {tasks} completed");
    ensure!(
        witnesses.effects() >= tasks,
        "{} effects",
        witnesses.effects()
    );
    let parked: usize = resolved.values().sum();
    let retries = resolved.get("retry").copied().unwrap_or(0);
    ensure!(
        witnesses.writes_again() <= retries,
        "writes that nobody asked for"
    );
    let report = format!(
        "{tasks} tasks of {} steps, {completed} completed; {losses} leases lost, {repeats} calls \
         repeated; {parked} parked and resolved {resolved:?}; {} effects, 0 writes twice but for \
         {} of the retries",
        steps / tasks,
        witnesses.effects(),
        witnesses.writes_again(),
    );
    Ok((report, resolved.len()))
}
