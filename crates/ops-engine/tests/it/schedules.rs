use ops_core::{
    Actor,
    event::TaskEvent,
    ports::{ExpectedSchedule, TaskFilter},
    schedule::{CatchUp, Overlap, RunOutcome, ScheduleRun},
};
use ops_engine::ScheduleRequest;

use crate::world::{TENANT, World};

fn every_minute(world: &World, overlap: Overlap) -> ScheduleRequest {
    ScheduleRequest {
        name: "report".into(),
        cron: "* * * * *".into(),
        timezone: "UTC".into(),
        overlap,
        catch_up: CatchUp::Latest,
        paused: None,
        expected: ExpectedSchedule::Any,
        task: world.request(),
    }
}

impl World {
    async fn apply(&self, overlap: Overlap) {
        let request = every_minute(self, overlap);
        self.engine
            .apply_schedule(TENANT, request, 1)
            .await
            .unwrap();
    }

    async fn runs(&self) -> Vec<ScheduleRun> {
        let runs = self.engine.schedule_runs(TENANT, "report", 100).await;
        runs.unwrap()
    }

    async fn after_runs(&self, count: usize) -> Vec<ScheduleRun> {
        self.until("the runs of the schedule", || async {
            self.runs().await.len() >= count
        })
        .await;
        self.runs().await
    }
}

#[tokio::test]
async fn a_schedule_submits_its_task_when_it_is_due() {
    let world = World::new();
    world.apply(Overlap::Skip).await;
    world.pass(60);
    let runs = world.after_runs(1).await;
    let RunOutcome::Started(task) = runs[0].outcome else {
        panic!("{runs:?}");
    };
    let record = world.task(task).await;
    assert_eq!(record.task.labels["schedule"], "report");
    let log = world.log(task).await;
    let actor = TaskEvent::actor(&log[0].event.body);
    assert_eq!(actor, Some(Actor::Schedule("report".parse().unwrap())));

    // Its task has not ended at the next date; the one after that starts again.
    world.pass(60);
    assert_eq!(world.after_runs(2).await[0].outcome, RunOutcome::Skipped);
    let life = world.claim().await.remove(0).life;
    world.complete(&life).await;
    world.pass(60);
    let runs = world.after_runs(3).await;
    assert!(
        matches!(runs[0].outcome, RunOutcome::Started(_)),
        "{runs:?}"
    );
    let all = TaskFilter::default();
    assert_eq!(world.engine.count(TENANT, all).await.unwrap(), 2);
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_once() {
    let world = World::new();
    world.apply(Overlap::Allow).await;
    // No server ran for an hour.
    world.pass(3_600);
    let runs = world.after_runs(2).await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(matches!(runs[0].outcome, RunOutcome::Started(_)));
    assert_eq!(runs[1].outcome, RunOutcome::Missed);
    let all = TaskFilter::default();
    assert_eq!(world.engine.count(TENANT, all).await.unwrap(), 1);
}

#[tokio::test]
async fn a_run_that_waits_starts_once_the_earlier_one_has_ended() {
    let world = World::new();
    world.apply(Overlap::QueueOne).await;
    world.pass(60);
    world.after_runs(1).await;
    world.pass(60);
    assert_eq!(world.after_runs(2).await[0].outcome, RunOutcome::Waiting);
    let life = world.claim().await.remove(0).life;
    world.complete(&life).await;
    world
        .until("the run that waited", || async {
            matches!(world.runs().await[0].outcome, RunOutcome::Started(_))
        })
        .await;
    assert_eq!(world.runs().await.len(), 2);
}

#[tokio::test]
async fn a_run_that_is_asked_for_starts_at_once() {
    let world = World::new();
    world.apply(Overlap::Skip).await;
    for _ in 0..2 {
        let run = world
            .engine
            .run_schedule(&world.caller, "report")
            .await
            .unwrap();
        let RunOutcome::Started(task) = run.outcome else {
            panic!("{run:?}");
        };
        let log = world.log(task).await;
        assert_eq!(TaskEvent::actor(&log[0].event.body), Some(Actor::Local));
    }
    world
        .engine
        .remove_schedule(TENANT, "report", ExpectedSchedule::Any)
        .await
        .unwrap();
    assert!(
        world
            .engine
            .schedule_runs(TENANT, "report", 1)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_date_of_a_clock_that_was_ahead_is_made_right() {
    let world = World::new();
    let ahead = 10 * 365 * 24 * 3_600;
    world.clock.step(ahead * 1_000_000);
    world.apply(Overlap::Skip).await;
    world.clock.step(-ahead * 1_000_000);
    world
        .until("the next date is right", || async {
            let view = world.engine.schedule(TENANT, "report", 0).await.unwrap();
            let next = view.schedule.next_at.unwrap();
            next.0 - ops_core::ports::Clock::now(&*world.clock).0 <= 60_000_000
        })
        .await;
    world.pass(60);
    let runs = world.after_runs(1).await;
    assert!(
        matches!(runs[0].outcome, RunOutcome::Started(_)),
        "{runs:?}"
    );
}
