use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    rules::fixtures::{after, new_task, ready, running, session},
    time::SECOND,
};

fn request(max: u32) -> ClaimRequest {
    ClaimRequest {
        session: session(),
        queue: "default".into(),
        max,
        rate: None,
        after: None,
    }
}

fn usual(limit: u32) -> Option<Wanted> {
    let class = Class::Usual;
    let order = Order::Priority;
    Some(Wanted::Candidates {
        class,
        order,
        limit,
    })
}

const CRASH_LOOP_SUSPECT: Option<Wanted> = Some(Wanted::Candidates {
    class: Class::CrashLoopSuspect,
    order: Order::Priority,
    limit: 1,
});

#[test]
fn a_task_is_a_suspect_from_its_second_lost_lease_to_its_next_outcome() {
    let mut life = running(1);
    for losses in 1..=3 {
        life = after(&life, Cause::LoseLease);
        assert_eq!(
            is_crash_loop_suspect(&life),
            losses >= CRASH_LOOP_LOSSES,
            "{losses}"
        );
        let session = session();
        life = after(&life, Cause::Claim { session });
    }
}

#[test]
fn a_key_is_needed_for_the_first_start_alone() {
    let mut task = new_task(1).task;
    assert_eq!(key_needed(&task, &ready(1)), None);
    task.concurrency_key = Some("k".into());
    assert_eq!(key_needed(&task, &ready(1)), Some("k"));
    assert_eq!(key_needed(&task, &running(1)), None);
}

#[test]
fn tasks_behind_blocked_ones_are_seen_and_suspects_come_last() {
    let mut claim = Claim::new(&request(3), Micros(0), Micros(9));
    assert_eq!(claim.wanted(), usual(3));
    let (look, block) = claim.look(&ready(1), Some("k".into())).unwrap();
    assert_eq!(look, Look::Blocked);
    assert_eq!(block.after.state.name().as_str(), "waiting");
    claim.written(look, TenantId::DEFAULT);
    let (look, taken) = claim.look(&ready(2), None).unwrap();
    assert_eq!(taken.after.state.session(), Some(session()));
    claim.written(look, TenantId::DEFAULT);
    assert_eq!(claim.wanted(), usual(2), "one has left the queue");
    assert_eq!(claim.wanted(), Some(Wanted::LeasedCrashLoopSuspect));
    claim.crash_loop_suspect_is_leased(false);
    assert_eq!(claim.wanted(), CRASH_LOOP_SUSPECT);
    assert_eq!(claim.wanted(), None);
    assert_eq!(claim.finish(), (More::Rung, None));
}

#[test]
fn one_suspect_runs_at_a_time() {
    let mut claim = Claim::new(&request(3), Micros(0), Micros(9));
    assert_eq!(claim.wanted(), usual(3));
    assert_eq!(claim.wanted(), Some(Wanted::LeasedCrashLoopSuspect));
    claim.crash_loop_suspect_is_leased(true);
    assert_eq!(claim.wanted(), None);
}

#[test]
fn a_full_claim_asks_for_nothing_more() {
    let mut claim = Claim::new(&request(1), Micros(0), Micros(9));
    assert_eq!(claim.wanted(), usual(1));
    claim.written(Look::Taken, TenantId::DEFAULT);
    assert_eq!(claim.wanted(), None);
    assert_eq!(claim.finish(), (More::Now, None));
    let mut none = Claim::new(&request(0), Micros(0), Micros(9));
    assert_eq!(none.wanted(), None);
}

#[test]
fn a_long_backlog_of_one_key_is_blocked_in_pieces() {
    let mut claim = Claim::new(&request(200), Micros(0), Micros(9));
    let mut rounds = 0;
    while let Some(Wanted::Candidates { limit, .. }) = claim.wanted() {
        (0..limit).for_each(|_| claim.written(Look::Blocked, TenantId::DEFAULT));
        rounds += 1;
    }
    assert_eq!(rounds, 2, "256 of them are in the second round");
    claim.crash_loop_suspect_is_leased(true);
    assert_eq!(claim.finish().0, More::Now, "there may be others behind");
}

#[test]
fn what_is_not_ready_is_refused() {
    let claim = Claim::new(&request(1), Micros(0), Micros(9));
    assert!(claim.look(&running(1), None).is_err());
    assert!(claim.look(&running(1), Some("k".into())).is_err());
}

proptest! {
    /// Whatever is found, a claim ends, takes no more than it may, and no more than the rate lets
    /// through.
    #[test]
    fn a_claim_ends_and_keeps_to_its_bounds(
        max in 0_u32..40,
        count in 1_u32..20,
        burst in 1_u32..10,
        expected in 0_i64..4 * SECOND,
        found in prop::collection::vec((any::<bool>(), 0_usize..60), 0..20),
        leased in any::<bool>(),
    ) {
        let now = Micros(2 * SECOND);
        let rate = Rate::new(count, SECOND, burst).unwrap();
        let allowed = rate.allows(Micros(expected), now);
        let request = ClaimRequest { rate: Some(rate), ..request(max) };
        let mut claim = Claim::new(&request, Micros(expected), now);
        let (mut found, mut taken, mut rounds) = (found.into_iter(), 0, 0);
        while let Some(wanted) = claim.wanted() {
            rounds += 1;
            prop_assert!(rounds < 400);
            let Wanted::Candidates { limit, .. } = wanted else {
                claim.crash_loop_suspect_is_leased(leased);
                continue;
            };
            let (blocked, some) = found.next().unwrap_or_default();
            for _ in 0..some.min(limit as usize) {
                claim.written(if blocked { Look::Blocked } else { Look::Taken }, TenantId::DEFAULT);
                taken += u32::from(!blocked);
            }
        }
        prop_assert!(taken <= max.min(allowed));
        let (more, changed) = claim.finish();
        prop_assert_eq!(changed.is_some(), taken > 0);
        if taken == allowed && max > taken {
            prop_assert!(matches!(more, More::At(at) if at > now), "{:?}", more);
        }
    }
}

/// The first time of a slice that belongs to aged tasks, or does not, from a time on.
fn slice(from: Micros, aged: bool) -> Micros {
    let slices = (0..10_000).map(|n| from.plus(n * SECOND));
    let mut found = slices.skip_while(|at| serves_aged(*at) != aged);
    found.next().unwrap()
}

#[test]
fn aged_tasks_come_first_in_their_slices_alone() {
    let ready = ready(1);
    let old = ready.updated_at.plus(AGED_AFTER);
    let mut claim = Claim::new(&request(2), Micros(0), slice(old, true));
    let by_age = Wanted::Candidates {
        class: Class::Usual,
        order: Order::Age,
        limit: 2,
    };
    assert_eq!(claim.wanted(), Some(by_age));
    let task = new_task(1).task;
    assert!(claim.considers(&task, &ready));
    let recent = claim.now.plus(1 - AGED_AFTER);
    let mut young = ready.clone();
    young.updated_at = recent;
    assert!(
        claim.considers(&task, &young),
        "it is as old as it was before it was readied"
    );
    let mut late = task.clone();
    late.run_at = Some(recent);
    assert!(!claim.considers(&late, &young));
    late.created_at = claim.now.plus(AGED_AFTER);
    young.updated_at = ready.updated_at;
    assert!(claim.considers(&late, &young), "made by a wrong clock");
    young.updated_at = recent;
    young.started_at = Some(ready.updated_at);
    assert!(!claim.considers(&task, &young), "it ran a short time ago");
    let (look, _) = claim.look(&ready, None).unwrap();
    claim.written(look, TenantId::DEFAULT);
    assert_eq!(claim.wanted(), usual(1), "what is left goes by priority");
    assert!(claim.considers(&task, &young));

    let mut claim = Claim::new(&request(2), Micros(0), slice(old, false));
    assert_eq!(claim.wanted(), usual(2));
}

proptest! {
    /// engine, missing: ageing of low priorities. A worker with one slot claims whenever a task ends. However long its
    /// tasks take, a share of the claims takes the oldest task, and none waits long for such a claim.
    #[test]
    fn whatever_the_rhythm_of_claims_an_aged_task_has_its_turn(
        begin in 1_700_000_000_i64..1_900_000_000,
        period in SLICE..300 * SECOND,
    ) {
        let (mut gap, mut longest, mut aged) = (0, 0, 0);
        for n in 0..2_000 {
            gap += 1;
            if serves_aged(Micros(begin * SECOND + n * period)) {
                aged += 1;
                gap = 0;
            }
            longest = longest.max(gap);
        }
        prop_assert!(longest < 200, "{longest} claims without one");
        prop_assert!((150..350).contains(&aged), "{aged} of 2000");
    }
}

/// Ready tasks of a queue: how many each tenant has.
type Ready = BTreeMap<TenantId, usize>;

/// A claim as a store carries it out; gives the tenants of the tasks, in the order in which they were taken.
fn carry_out(ready: &mut Ready, max: u32, after: Option<TenantId>) -> Vec<TenantId> {
    let request = ClaimRequest {
        after,
        ..request(max)
    };
    let mut claim = Claim::new(&request, Micros(0), Micros(9));
    let mut taken = Vec::new();
    while let Some(wanted) = claim.wanted() {
        let limit = match wanted {
            Wanted::Candidates {
                class: Class::Usual,
                limit,
                ..
            } => limit,
            Wanted::Candidates { .. } => continue,
            Wanted::LeasedCrashLoopSuspect => {
                claim.crash_loop_suspect_is_leased(true);
                continue;
            }
        };
        let tenants = turns_of_tenants(ready.keys().copied(), claim.after(), limit);
        let share = share(limit, tenants.len()) as usize;
        let candidates = tenants.into_iter().flat_map(|tenant| {
            let count = ready.get(&tenant).copied().unwrap_or(0);
            std::iter::repeat_n(tenant, count.min(share))
        });
        for tenant in in_turn(candidates.collect(), |tenant| *tenant) {
            let mut task = new_task(1).task;
            task.tenant = tenant;
            if !claim.considers(&task, &crate::rules::fixtures::ready(1)) {
                continue;
            }
            claim.written(Look::Taken, tenant);
            taken.push(tenant);
            let left = ready.get_mut(&tenant).unwrap();
            *left -= 1;
            if *left == 0 {
                ready.remove(&tenant);
            }
        }
    }
    taken
}

proptest! {
    /// Between two tasks of a tenant, each tenant that has ready tasks all the while has one; and a claim is as full as it
    /// can be.
    #[test]
    fn tenants_take_turns(
        counts in proptest::collection::btree_map(1..60_u32, 1..40_usize, 1..9),
        claims in proptest::collection::vec(1..20_u32, 1..40),
    ) {
        let mut ready: Ready = counts.iter().map(|(tenant, count)| (TenantId(*tenant), *count)).collect();
        let (mut after, mut order) = (None, Vec::new());
        for max in claims {
            let waiting: usize = ready.values().sum();
            let taken = carry_out(&mut ready, max, after);
            prop_assert_eq!(taken.len(), waiting.min(max as usize));
            after = taken.last().copied().or(after);
            order.extend(taken);
        }
        // Those that still have tasks had some all the while.
        for (at, tenant) in order.iter().enumerate() {
            let Some(next) = order[at + 1..].iter().position(|other| other == tenant) else {
                continue;
            };
            let between = &order[at + 1..at + 1 + next];
            for other in ready.keys().filter(|other| *other != tenant) {
                prop_assert!(between.contains(other), "{:?} waits: {:?}", other, order);
            }
        }
    }
}
