use ops_core::{
    Actor, Json, Micros, Next, TaskAction, TaskId, WaitRequest,
    event::TaskEvent,
    ports::{ExpectedSchedule, NewSchedule, ScheduleChange, StoreError},
    schedule::{
        CatchUp, Fire, Occasion, Overlap, RunOutcome, Schedule, ScheduleName, ScheduleRun,
        ScheduleSpec, Trigger,
    },
    task::StateName,
    time::SECOND,
};

use crate::world::{OTHER, TENANT, World, big_json, pair};

const ANY: ExpectedSchedule = ExpectedSchedule::Any;
const PAUSE: ScheduleChange = ScheduleChange::Pause { expected: ANY };
const REMOVE: ScheduleChange = ScheduleChange::Remove {
    expected: ExpectedSchedule::Any,
};

fn name(text: &str) -> ScheduleName {
    text.parse().unwrap()
}

fn new(world: &World, overlap: Overlap, next: i64) -> NewSchedule {
    NewSchedule {
        tenant: TENANT,
        name: name("nightly"),
        spec: ScheduleSpec {
            cron: "0 2 * * *".into(),
            timezone: "Europe/Berlin".into(),
            overlap,
            catch_up: CatchUp::All,
            template: Json::parse(r#"{"task_type":"agent_run"}"#).unwrap(),
        },
        paused: None,
        next_at: Some(now(world).plus(next * SECOND)),
        expected: ExpectedSchedule::Any,
    }
}

fn now(world: &World) -> Micros {
    use ops_core::ports::Clock as _;
    world.clock.now()
}

async fn put(world: &World, new: NewSchedule) -> Schedule {
    world.store.put_schedule(new).await.unwrap().0
}

async fn stored(world: &World) -> Schedule {
    world.store.schedule(TENANT, name("nightly")).await.unwrap()
}

async fn runs(world: &World) -> Vec<ScheduleRun> {
    let runs = world.store.schedule_runs(TENANT, name("nightly"), 1_000);
    runs.await.unwrap()
}

/// A fire of so many runs, a second apart from the schedule's date on.
fn due(world: &World, schedule: &Schedule, count: i64) -> Fire {
    let due = schedule.next_at.unwrap();
    let date = |index| due.plus(index * SECOND);
    Fire {
        revision: schedule.revision,
        occasion: Occasion::Due {
            due,
            next: Some(date(count)),
            missed: false,
        },
        runs: (0..count)
            .map(|index| (date(index), Ok(world.new_task())))
            .collect(),
    }
}

async fn fire(world: &World, fire: Fire) -> Vec<ScheduleRun> {
    let fired = world.store.fire_schedule(TENANT, name("nightly"), fire);
    fired.await.unwrap()
}

fn started(run: &ScheduleRun) -> TaskId {
    match run.outcome {
        RunOutcome::Started(task) => task,
        ref other => panic!("{other:?}"),
    }
}

async fn end(world: &World, task: TaskId) {
    world.apply(task, TaskAction::Cancel).await.unwrap();
}

pub(crate) async fn keeps_what_is_wanted(world: &World) {
    let mut wish = new(world, Overlap::QueueOne, 60);
    wish.spec.template = big_json(20_000);
    let (first, created) = world.store.put_schedule(wish.clone()).await.unwrap();
    assert!(created && !first.paused);
    assert_eq!((&first.spec, first.revision), (&wish.spec, 1));
    assert_eq!(stored(world).await, first);

    // The same again changes nothing, whatever dates were computed for it.
    world.clock.advance(10);
    wish.next_at = Some(now(world).plus(99 * SECOND));
    let (again, created) = world.store.put_schedule(wish.clone()).await.unwrap();
    assert!(!created);
    assert_eq!(again, first);

    // Another task keeps the date, another pattern has another.
    wish.spec.overlap = Overlap::Allow;
    let other = put(world, wish.clone()).await;
    assert_eq!((other.next_at, other.revision), (first.next_at, 2));
    assert_eq!(
        (other.created_at, other.updated_at),
        (first.created_at, now(world))
    );
    wish.spec.cron = "0 3 * * *".into();
    assert_eq!(put(world, wish.clone()).await.next_at, wish.next_at);

    wish.paused = Some(true);
    let paused = put(world, wish.clone()).await;
    assert_eq!((paused.paused, paused.next_at), (true, None));
    wish.paused = None;
    assert!(put(world, wish).await.paused, "an apply resumes nothing");
}

pub(crate) async fn changes_only_what_is_as_expected(world: &World) {
    let store = &world.store;
    let expecting = |expected, overlap| NewSchedule {
        expected,
        ..new(world, overlap, 60)
    };
    let missing = store.put_schedule(expecting(ExpectedSchedule::Revision(1), Overlap::Skip));
    assert_eq!(
        missing.await.unwrap_err(),
        StoreError::ScheduleChanged(None)
    );
    let made = store.put_schedule(expecting(ExpectedSchedule::Absent, Overlap::Skip));
    let (made, created) = made.await.unwrap();
    assert!(created);
    for wrong in [ExpectedSchedule::Absent, ExpectedSchedule::Revision(2)] {
        let refused = store.put_schedule(expecting(wrong, Overlap::Allow)).await;
        let changed = StoreError::ScheduleChanged(Some(1));
        assert_eq!(refused.unwrap_err(), changed, "{wrong:?}");
    }
    assert_eq!(stored(world).await, made);
    let right = store.put_schedule(expecting(ExpectedSchedule::Revision(1), Overlap::Allow));
    assert_eq!(right.await.unwrap().0.revision, 2);
}

pub(crate) async fn lists_those_of_every_tenant(world: &World) {
    for (tenant, text) in [(OTHER, "a"), (TENANT, "b"), (TENANT, "a"), (OTHER, "c")] {
        let wish = NewSchedule {
            tenant,
            name: name(text),
            ..new(world, Overlap::Skip, 60)
        };
        put(world, wish).await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = world.store.all_schedules(after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.tenant, last.name.clone()));
        seen.extend(page.into_iter().map(|found| (found.tenant, found.name)));
    }
    let expected = [(TENANT, "a"), (TENANT, "b"), (OTHER, "a"), (OTHER, "c")];
    assert_eq!(seen, expected.map(|(tenant, text)| (tenant, name(text))));
}

pub(crate) async fn lists_by_name(world: &World) {
    for text in ["b", "a", "c"] {
        let wish = NewSchedule {
            name: name(text),
            ..new(world, Overlap::Skip, 60)
        };
        put(world, wish).await;
    }
    let names = async |after: Option<&str>, limit| {
        let page = world.store.schedules(TENANT, after.map(name), limit).await;
        let names = page
            .unwrap()
            .into_iter()
            .map(|found| found.name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(None, 2).await, ["a", "b"]);
    assert_eq!(names(Some("b"), 2).await, ["c"]);
    assert!(names(Some("c"), 2).await.is_empty());
}

pub(crate) async fn pauses_resumes_and_removes(world: &World) {
    put(world, new(world, Overlap::Skip, 60)).await;
    let change = async |change| {
        let changed = world.store.change_schedule(TENANT, name("nightly"), change);
        changed.await
    };
    let paused = change(PAUSE).await.unwrap();
    assert_eq!(
        (paused.paused, paused.next_at, paused.revision),
        (true, None, 2)
    );
    assert_eq!(change(PAUSE).await.unwrap(), paused);
    let next_at = Some(now(world).plus(7 * SECOND));
    let resumed = change(ScheduleChange::Resume {
        next_at,
        expected: ANY,
    })
    .await
    .unwrap();
    assert_eq!((resumed.paused, resumed.next_at), (false, next_at));
    // Resuming what runs moves no date.
    let again = change(ScheduleChange::Resume {
        next_at: None,
        expected: ANY,
    })
    .await;
    assert_eq!(again.unwrap(), resumed);

    let run = fire(world, due(world, &resumed, 1)).await;
    let expected = ExpectedSchedule::Revision(9);
    let changed = StoreError::ScheduleChanged(Some(resumed.revision));
    for wrong in [
        ScheduleChange::Pause { expected },
        ScheduleChange::Resume {
            next_at: None,
            expected,
        },
        ScheduleChange::Remove { expected },
    ] {
        assert_eq!(change(wrong).await.unwrap_err(), changed);
    }
    assert_eq!(stored(world).await.revision, resumed.revision);
    let removed = change(REMOVE).await.unwrap();
    assert_eq!(removed.name, name("nightly"));
    assert_eq!(change(PAUSE).await.unwrap_err(), StoreError::NotFound);
    assert!(
        !world
            .task(started(&run[0]))
            .await
            .life
            .state
            .name()
            .is_terminal()
    );
    put(world, new(world, Overlap::Skip, 60)).await;
    assert!(runs(world).await.is_empty());
}

pub(crate) async fn says_what_is_due(world: &World) {
    let schedule = put(world, new(world, Overlap::Skip, 60)).await;
    let found = world.store.due_schedules(10).await.unwrap();
    assert!(found.due.is_empty() && found.released.is_empty());
    assert_eq!(found.next, schedule.next_at);
    world.clock.advance(60);
    let found = world.store.due_schedules(10).await.unwrap();
    assert_eq!((found.due, found.next), (vec![schedule], None));
}

pub(crate) async fn fires_once(world: &World) {
    let schedule = put(world, new(world, Overlap::Skip, 60)).await;
    world.seen.take();
    let first = due(world, &schedule, 1);
    let ran = fire(world, first.clone()).await;
    let task = started(&ran[0]);
    assert_eq!(
        (ran[0].due, ran[0].trigger),
        (schedule.next_at.unwrap(), Trigger::Due)
    );
    assert_eq!(world.kinds(task).await, ["task.submitted"]);
    // The observer is told right after the answer.
    let told = async {
        while !world
            .seen
            .take()
            .iter()
            .any(|notice| notice.hint.task == task)
        {
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(20), told).await;
    told.expect("workers are woken");
    let after = stored(world).await;
    assert_eq!(after.next_at, Some(schedule.next_at.unwrap().plus(SECOND)));
    assert_eq!(after.revision, schedule.revision);

    // The same fire again, as after a lost answer; and one for a date that is past, as after the
    // clock was set back.
    assert!(fire(world, first.clone()).await.is_empty());
    let mut wish = new(world, Overlap::Skip, 60);
    wish.spec.cron = "1 1 * * *".into();
    wish.next_at = schedule.next_at;
    let back = put(world, wish).await;
    end(world, task).await;
    assert!(fire(world, due(world, &back, 1)).await.is_empty());
    assert_eq!(stored(world).await.next_at, after.next_at);
    assert_eq!(runs(world).await, ran);

    // One that was made for another revision.
    let stale = Fire {
        revision: 1,
        ..due(world, &after, 1)
    };
    assert!(fire(world, stale).await.is_empty());
    let total: u64 = world.store.counts(TENANT).await.unwrap().values().sum();
    assert_eq!(total, 1);
}

/// tests/X12: a fire whose date was seen to moves nothing, and starts nothing.
pub(crate) async fn looks_whether_a_fire_still_stands(world: &World) {
    let schedule = put(world, new(world, Overlap::QueueOne, 0)).await;
    let old = Fire {
        occasion: Occasion::Due {
            due: schedule.next_at.unwrap(),
            next: schedule.next_at.map(|due| due.plus(SECOND)),
            missed: true,
        },
        // Dates that no earlier run has.
        runs: vec![(schedule.next_at.unwrap().plus(7), Ok(world.new_task()))],
        ..due(world, &schedule, 1)
    };
    let first = started(&fire(world, due(world, &schedule, 1)).await[0]);
    let ran = fire(world, due(world, &stored(world).await, 1)).await;
    assert_eq!(ran[0].outcome, RunOutcome::Waiting);
    let held = stored(world).await;
    assert!(fire(world, old).await.is_empty());
    assert_eq!(stored(world).await, held);

    let release = |task| Fire {
        revision: held.revision,
        occasion: Occasion::Waited {
            due: held.waiting.unwrap(),
        },
        runs: vec![(held.waiting.unwrap(), Ok(task))],
    };
    end(world, first).await;
    let second = started(&fire(world, release(world.new_task())).await[0]);
    end(world, second).await;
    let noted = runs(world).await;
    assert!(fire(world, release(world.new_task())).await.is_empty());
    assert_eq!(runs(world).await, noted);
    assert_eq!(noted.len(), 2);
}

/// tests/X8: a run that waits for something has not ended.
pub(crate) async fn counts_every_run_that_has_not_ended(world: &World) {
    let until = now(world).plus(3_600 * SECOND);
    let steps = vec![1];
    let waits = [
        Next::Wait(WaitRequest::Timer { until }),
        Next::Wait(WaitRequest::Approval {
            steps: steps.clone(),
            until: None,
        }),
        Next::Wait(WaitRequest::InDoubt { steps }),
        Next::Wait(WaitRequest::Signal {
            names: vec!["go".into()],
            until: None,
        }),
        Next::Fail {
            error: crate::world::error("model_unreachable"),
            retryable: true,
        },
    ];
    let session = world.session().await;
    for next in waits {
        let schedule = put(world, new(world, Overlap::Skip, 0)).await;
        let mut first = due(world, &schedule, 1);
        if let (_, Ok(task)) = &mut first.runs[0] {
            task.retry.initial_micros = 3_600 * SECOND;
        }
        let task = started(&fire(world, first).await[0]);
        let busy = async |what: &str| {
            let ran = fire(world, due(world, &stored(world).await, 1)).await;
            assert_eq!(ran[0].outcome, RunOutcome::Skipped, "{what}");
        };
        busy("ready").await;
        let life = world.claim(session, 1).await.remove(0).life;
        assert_eq!(life.id, task);
        busy("running").await;
        world.append(&life, pair(1), next.clone()).await.unwrap();
        busy(&format!("{next:?}")).await;
        world.apply(task, TaskAction::Pause).await.unwrap();
        busy("paused").await;
        end(world, task).await;
        let ran = fire(world, due(world, &stored(world).await, 1)).await;
        end(world, started(&ran[0])).await;
        let removed = world.store.change_schedule(TENANT, name("nightly"), REMOVE);
        removed.await.unwrap();
    }
}

pub(crate) async fn fires_once_in_parallel(world: &World) {
    let schedule = put(world, new(world, Overlap::Allow, 0)).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let fire = due(world, &schedule, 3);
        let store = world.store.clone();
        calls.spawn(async move {
            let fired = store.fire_schedule(TENANT, name("nightly"), fire);
            fired.await.unwrap().len()
        });
    }
    assert_eq!(calls.join_all().await.iter().sum::<usize>(), 3);
    assert_eq!(runs(world).await.len(), 3);
}

pub(crate) async fn cancels_what_overlaps(world: &World) {
    let schedule = put(world, new(world, Overlap::CancelOther, 0)).await;
    let first = started(&fire(world, due(world, &schedule, 1)).await[0]);
    let (session, mut last) = (world.session().await, first);
    // The first one runs, so that it has to confirm; the second one has not begun.
    let claimed = world.claim(session, 1).await.remove(0);
    assert_eq!(claimed.task.id, first);
    for expected in [StateName::Cancelling, StateName::Cancelled] {
        let ran = fire(world, due(world, &stored(world).await, 2)).await;
        assert_eq!(ran[0].outcome, RunOutcome::Skipped);
        let before = std::mem::replace(&mut last, started(&ran[1]));
        let record = world.task(before).await;
        assert_eq!(record.life.state.name(), expected);
        let events = world.events(before).await;
        let asked = &events.last().unwrap().event;
        let actor = TaskEvent::actor(&asked.body);
        assert_eq!(actor, Some(Actor::Schedule(name("nightly"))), "{asked:?}");
    }
    let state = world.task(last).await.life.state.name();
    assert_eq!(state, StateName::Pending);
    // A run that somebody asks for leaves it alone.
    let asked = Fire {
        revision: schedule.revision,
        occasion: Occasion::Manual,
        runs: vec![(now(world), Ok(world.new_task()))],
    };
    started(&fire(world, asked).await[0]);
    let state = world.task(last).await.life.state.name();
    assert_eq!(state, StateName::Pending);
}

pub(crate) async fn skips_or_queues_what_overlaps(world: &World) {
    let schedule = put(world, new(world, Overlap::Skip, 0)).await;
    let outcomes = |runs: &[ScheduleRun]| {
        runs.iter()
            .map(|run| run.outcome.clone())
            .collect::<Vec<_>>()
    };
    let ran = fire(world, due(world, &schedule, 2)).await;
    let first = started(&ran[0]);
    assert_eq!(ran[1].outcome, RunOutcome::Skipped);
    let ran = fire(world, due(world, &stored(world).await, 1)).await;
    assert_eq!(outcomes(&ran), [RunOutcome::Skipped]);

    let schedule = put(world, new(world, Overlap::QueueOne, 0)).await;
    let ran = fire(world, due(world, &schedule, 2)).await;
    assert_eq!(outcomes(&ran), [RunOutcome::Skipped, RunOutcome::Waiting]);
    let waiting = stored(world).await.waiting;
    assert_eq!(waiting, Some(ran[1].due));
    // A newer one takes its place.
    let ran = fire(world, due(world, &stored(world).await, 1)).await;
    assert_eq!(outcomes(&ran), [RunOutcome::Waiting]);
    let found = world.store.due_schedules(10).await.unwrap();
    assert!(found.waiting && found.released.is_empty());
    let noted = runs(world).await;
    assert_eq!(
        outcomes(&noted)[..2],
        [RunOutcome::Waiting, RunOutcome::Skipped]
    );

    let held = stored(world).await;
    let release = Fire {
        revision: held.revision,
        occasion: Occasion::Waited {
            due: held.waiting.unwrap(),
        },
        runs: vec![(held.waiting.unwrap(), Ok(world.new_task()))],
    };
    assert!(
        fire(world, release.clone()).await.is_empty(),
        "the first has not ended"
    );
    end(world, first).await;
    let found = world.store.due_schedules(10).await.unwrap();
    assert_eq!(found.released, [held]);
    let ran = fire(world, release.clone()).await;
    started(&ran[0]);
    assert!(fire(world, release).await.is_empty());
    assert_eq!(stored(world).await.waiting, None);
    assert_eq!(runs(world).await[0], ran[0]);
}

pub(crate) async fn runs_when_asked(world: &World) {
    put(world, new(world, Overlap::Skip, 60)).await;
    let change = PAUSE;
    let paused = world.store.change_schedule(TENANT, name("nightly"), change);
    let paused = paused.await.unwrap();
    let ask = |at| Fire {
        revision: paused.revision,
        occasion: Occasion::Manual,
        runs: vec![(at, Ok(world.new_task()))],
    };
    // Twice in the same microsecond are two.
    let at = now(world);
    for _ in 0..2 {
        let ran = fire(world, ask(at)).await;
        started(&ran[0]);
        assert_eq!(ran[0].trigger, Trigger::Manual);
    }
    assert_eq!(runs(world).await.len(), 2);
    assert_eq!(stored(world).await, paused);
}

pub(crate) async fn notes_what_was_missed_and_refused(world: &World) {
    let schedule = put(world, new(world, Overlap::Allow, 0)).await;
    let mut late = due(world, &schedule, 1);
    let date = schedule.next_at.unwrap().plus(500 * SECOND);
    late.occasion = Occasion::Due {
        due: schedule.next_at.unwrap(),
        next: None,
        missed: true,
    };
    late.runs = vec![(date, Err("no worker knows the task type `x`".into()))];
    let ran = fire(world, late).await;
    assert_eq!(
        (ran[0].due, &ran[0].outcome),
        (schedule.next_at.unwrap(), &RunOutcome::Missed)
    );
    let why = RunOutcome::Refused("no worker knows the task type `x`".into());
    assert_eq!((ran[1].due, &ran[1].outcome), (date, &why));
    assert_eq!(stored(world).await.next_at, None);
    let mut newest_first = runs(world).await;
    newest_first.reverse();
    assert_eq!(newest_first, ran);
}

pub(crate) async fn keeps_the_last_runs(world: &World) {
    let schedule = put(world, new(world, Overlap::Allow, 0)).await;
    let long = started(&fire(world, due(world, &schedule, 1)).await[0]);
    for _ in 0..6 {
        let ran = fire(world, due(world, &stored(world).await, 30)).await;
        for run in &ran {
            end(world, started(run)).await;
        }
    }
    fire(world, due(world, &stored(world).await, 1)).await;
    let kept = runs(world).await;
    assert_eq!(kept.len(), 101, "a hundred, and the one whose task goes on");
    assert_eq!(started(&kept[100]), long);
}

pub(crate) async fn hides_schedules_of_others(world: &World) {
    let schedule = put(world, new(world, Overlap::Skip, 0)).await;
    let store = &world.store;
    let hidden = StoreError::NotFound;
    assert_eq!(
        store.schedule(OTHER, name("nightly")).await.unwrap_err(),
        hidden
    );
    assert!(store.schedules(OTHER, None, 10).await.unwrap().is_empty());
    let their_runs = store.schedule_runs(OTHER, name("nightly"), 10).await;
    assert_eq!(their_runs.unwrap_err(), hidden);
    for change in [
        PAUSE,
        ScheduleChange::Resume {
            next_at: None,
            expected: ANY,
        },
        REMOVE,
    ] {
        let changed = store.change_schedule(OTHER, name("nightly"), change).await;
        assert_eq!(changed.unwrap_err(), hidden);
    }
    let fire = due(world, &schedule, 1);
    let fired = store.fire_schedule(OTHER, name("nightly"), fire).await;
    assert_eq!(fired.unwrap_err(), hidden);
    // The same name is another schedule.
    let theirs = NewSchedule {
        tenant: OTHER,
        ..new(world, Overlap::Allow, 5)
    };
    let (theirs, created) = store.put_schedule(theirs).await.unwrap();
    assert!(created);
    let removed = store.change_schedule(OTHER, name("nightly"), REMOVE);
    assert_eq!(removed.await.unwrap(), theirs);
    assert_eq!(stored(world).await, schedule);
}
