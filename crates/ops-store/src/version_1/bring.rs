//! Stores tasks through the verbs of a store.

use ops_core::{
    Append, Lifecycle, Next, RunCommand, SessionId, State, TaskAction, TenantId,
    ports::{ClaimRequest, Clock as _, RunStore, StoreError, TaskStore},
};
use tokio::sync::mpsc::Receiver;

use super::{
    BringError, Brought, Note, OldTask, QUEUE, SetClock,
    plan::{End, Plan, plan},
};

const TENANT: TenantId = TenantId::DEFAULT;
/// The session that holds each task from its start to its end.
const SESSION: [u8; 16] = *b"opspawn-version1";
/// Notes of each kind.
const NOTES: usize = 10_000;

/// Stores the tasks that `rows` gives, in their order, and tells `progress` of their number. The store has `clock`, and no
/// other process uses the database.
///
/// # Errors
/// [`BringError`]. Tasks that were stored before stay.
pub async fn bring<S: TaskStore + RunStore + ?Sized>(
    store: &S,
    clock: &SetClock,
    mut rows: Receiver<Result<OldTask, BringError>>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Brought, BringError> {
    let (now, session) = (clock.now(), SessionId::from_bytes(SESSION));
    store.open_session(session).await?;
    let mut brought = Brought::default();
    let done = async {
        while let Some(row) = rows.recv().await {
            let old = row?;
            brought.found += 1;
            one(store, clock, &old, &mut brought).await?;
            if brought.found.is_multiple_of(100) {
                progress(brought.found);
            }
        }
        Ok(())
    };
    let done = done.await;
    clock.set(now);
    let closed = store.close_session(session).await;
    done.and_then(|()| Ok(closed?)).map(|()| brought)
}

async fn one<S: TaskStore + RunStore + ?Sized>(
    store: &S,
    clock: &SetClock,
    old: &OldTask,
    brought: &mut Brought,
) -> Result<(), BringError> {
    let note = |notes: &mut Vec<Note>, why: String| {
        if notes.len() < NOTES {
            notes.push(Note {
                task_id: old.task_id.chars().take(80).collect(),
                why,
            });
        }
    };
    let plan = match plan(old) {
        Ok(plan) => plan,
        Err(why) => {
            note(&mut brought.left_out, why);
            return Ok(());
        }
    };
    let known = match store.task(TENANT, plan.new.task.id).await {
        Ok(record) => Some(record),
        Err(StoreError::NotFound) => None,
        Err(StoreError::Unreadable(why)) => {
            note(
                &mut brought.left_out,
                format!("it is here already, and damaged: {why}"),
            );
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let is_new = match &known {
        Some(record) if record.life.state.name().is_terminal() => false,
        // An earlier run was killed in its middle.
        Some(record) if record.task.queue == QUEUE => true,
        Some(_) => {
            note(
                &mut brought.left_out,
                "a task with its id is here already".to_owned(),
            );
            return Ok(());
        }
        None => true,
    };
    let was_broken_off = is_new && known.is_some();
    if is_new {
        let begun = known.map(|record| record.life);
        match store_one(store, clock, &plan, begun).await {
            Ok(()) => {}
            Err(StoreError::TooLarge { size, cap }) => {
                note(
                    &mut brought.left_out,
                    format!("a value of it has {size} bytes, and {cap} may be stored"),
                );
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let stored = store.task(TENANT, plan.new.task.id).await?;
    match plan.difference(&stored) {
        None if is_new => brought.imported += 1,
        None => brought.already += 1,
        Some(of @ ("started_at" | "completed_at")) if was_broken_off => {
            brought.imported += 1;
            let why = format!("its {of} is that of this command, which was killed in its middle");
            note(&mut brought.changed, why);
        }
        Some(of) => {
            let why = format!("it is here already, with another {of}");
            note(&mut brought.left_out, why);
            return Ok(());
        }
    }
    if is_new {
        for why in plan.changed {
            note(&mut brought.changed, why);
        }
    }
    Ok(())
}

/// Stores a task, from where an earlier run has left it.
async fn store_one<S: TaskStore + RunStore + ?Sized>(
    store: &S,
    clock: &SetClock,
    plan: &Plan,
    begun: Option<Lifecycle>,
) -> Result<(), StoreError> {
    let id = plan.new.task.id;
    // What is too large to end with is not begun.
    if let End::Completed(result) = &plan.end {
        let probe = result.as_str().len();
        ops_core::verbs::size::size(probe, MAX_RESULT)?;
    }
    let mut life = match begun {
        Some(life) => life,
        None => {
            clock.set(plan.submitted);
            store.submit(plan.new.clone()).await?.record.life
        }
    };
    let needs_lease = plan.started.is_some() || !matches!(plan.end, End::Cancelled);
    if needs_lease && matches!(life.state, State::Pending { .. }) {
        clock.set(plan.started.unwrap_or(plan.ended));
        let claim = ClaimRequest {
            session: SessionId::from_bytes(SESSION),
            queue: QUEUE.to_owned(),
            max: 1,
            rate: None,
            after: None,
        };
        let claimed = store.claim(claim).await?;
        let found = claimed
            .tasks
            .into_iter()
            .find(|record| record.task.id == id);
        let taken = || StoreError::Unavailable(format!("{id} was taken by another process"));
        life = found.ok_or_else(taken)?.life;
    }
    clock.set(plan.ended);
    if matches!(plan.end, End::Cancelled) {
        let cancel = TaskAction::Cancel.by(plan.new.actor.clone());
        life = store.command(TENANT, id, cancel).await?;
    }
    let next = match &plan.end {
        End::Completed(result) => Next::Complete {
            result: result.clone(),
        },
        End::Failed(error) => Next::Fail {
            error: error.clone(),
            retryable: false,
        },
        End::Cancelled if life.state.name().is_terminal() => return Ok(()),
        End::Cancelled => Next::Cancelled,
    };
    let end = RunCommand::append(life.epoch, Append::new(life.seq, Vec::new(), next));
    store.record(TENANT, id, end, Vec::new()).await.map(drop)
}

/// The largest result that every store takes unless it is told otherwise.
const MAX_RESULT: u64 = 64 << 20;
