use ops_core::{
    Json, Next, TaskAction,
    event::{Resolution, StepKind, StepMark, StepStatus},
    ports::{Blob, EVENT_BYTES, LeftOut, Snapshot, StoreError, TaskFilter},
};
use sha2::{Digest as _, Sha256};

use crate::world::{OTHER, TENANT, World, append, big_json, pair, step};

pub(crate) async fn reads_in_pages(world: &World) {
    let (_, mut life) = world.running().await;
    let steps = (0..1_300).flat_map(pair).collect::<Vec<_>>();
    for chunk in steps.chunks(500) {
        life = world
            .append(&life, chunk.to_vec(), Next::Continue)
            .await
            .unwrap();
    }
    assert_eq!(life.seq, 2_602);
    let all = world.events(life.id).await;
    assert_eq!(all.len(), 2_602);
    assert!(all.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    let page = world
        .store
        .events(TENANT, life.id, 2_000, 10)
        .await
        .unwrap();
    assert_eq!(page, all[2_000..2_010]);
    let page = world
        .store
        .events(TENANT, life.id, 100, 1_000)
        .await
        .unwrap();
    assert_eq!(page, all[100..1_100]);
    assert!(
        world
            .store
            .events(TENANT, life.id, 2_602, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        world
            .store
            .events(TENANT, life.id, u64::MAX, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        world
            .store
            .events(TENANT, life.id, 0, 0)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn bounds_the_bytes_of_a_page(world: &World) {
    let (_, life) = world.running().await;
    // Half of what a page may have, in the row and in the blob table; and one that is more than a page.
    let sizes = [60_000, 8_000, 60_000, 300_000, 10, 10];
    let mut events: Vec<_> = (0..3).flat_map(pair).collect();
    for (event, size) in events.iter_mut().zip(sizes) {
        event.body = big_json(size).as_str().to_owned().into();
    }
    let life = world.append(&life, events, Next::Continue).await.unwrap();
    let all = world.events(life.id).await;
    assert_eq!(all.len(), 8);
    for (after, expected) in [(0, 5), (2, 3), (4, 1), (5, 1), (6, 2), (8, 0)] {
        let page = world.store.events(TENANT, life.id, after, 100).await;
        let page = page.unwrap();
        let start = usize::try_from(after).unwrap();
        assert_eq!(page, all[start..start + expected]);
        let bytes: usize = page.iter().map(|event| event.event.body.len()).sum();
        assert!(page.len() == 1 || bytes <= EVENT_BYTES, "{bytes}");
    }
}

pub(crate) async fn says_where_a_task_stands(world: &World) {
    let (_, life) = world.running().await;
    assert_eq!(world.store.life(TENANT, life.id).await.unwrap(), life);
    let life = world.append(&life, pair(1), Next::Continue).await.unwrap();
    assert_eq!(world.store.life(TENANT, life.id).await.unwrap(), life);
    assert_eq!(world.task(life.id).await.life, life);
}

pub(crate) async fn finds_the_turn_of_an_event(world: &World) {
    let (_, life) = world.running().await;
    let model = |number, status| {
        let mut event = step(number, status);
        event.step = event.step.map(|mark| StepMark {
            kind: StepKind::Model,
            ..mark
        });
        event
    };
    // Events 3 and 4 are the model's, then its two calls; 9 and 10 the model's again.
    let mut events = vec![
        model(1, StepStatus::Started),
        model(1, StepStatus::Completed),
    ];
    events.extend([2, 3].map(|number| step(number, StepStatus::Started)));
    events.extend([3, 2].map(|number| step(number, StepStatus::Completed)));
    events.extend([StepStatus::Started, StepStatus::Failed].map(|status| model(4, status)));
    let life = world.append(&life, events, Next::Continue).await.unwrap();
    assert_eq!(life.seq, 10);
    let expected = [0, 0, 0, 3, 4, 4, 4, 4, 4, 9, 10, 10];
    for (seq, expected) in (0..).zip(expected) {
        let found = world.store.turn_start(TENANT, life.id, seq).await;
        assert_eq!(found.unwrap(), expected, "{seq}");
    }
}

pub(crate) async fn keeps_large_values(world: &World) {
    let mut new = world.new_task();
    new.task.input = big_json(700_000);
    new.idempotency = Some(ops_core::ports::Idempotency {
        key: ops_core::ports::IdempotencyKey::Client("k".into()),
        digest: [1; 32],
    });
    let submitted = world.store.submit(new.clone()).await.unwrap();
    assert_eq!(submitted.record.task, new.task);
    let again = world.store.submit(new.clone()).await.unwrap();
    assert!(again.existing);
    assert_eq!(again.record.task, new.task);

    let session = world.session().await;
    let claimed = world.claim(session, 1).await.remove(0);
    assert_eq!(claimed.task, new.task);

    let mut events = pair(1);
    events[0].body = big_json(8_192 - 2).as_str().to_owned().into();
    events[1].body = big_json(300_000).as_str().to_owned().into();
    // The result has the bytes of a body: they are stored once.
    let result = big_json(300_000);
    let next = Next::Complete {
        result: result.clone(),
    };
    let after = world
        .append(&claimed.life, events.clone(), next)
        .await
        .unwrap();
    let read = world.task(after.id).await;
    assert_eq!((read.task, read.result), (new.task.clone(), Some(result)));
    let filter = |without_large| TaskFilter {
        limit: 1,
        without_large,
        ..TaskFilter::default()
    };
    let whole = world.store.tasks(TENANT, filter(false)).await.unwrap();
    assert_eq!(whole.found, [world.task(after.id).await]);
    let listed = world.store.tasks(TENANT, filter(true)).await.unwrap();
    let [listed] = &listed.found[..] else {
        panic!("{listed:?}");
    };
    assert_eq!((&listed.task.input, &listed.result), (&Json::null(), &None));
    let sizes = LeftOut {
        input: Some(new.task.input.as_str().len() as u64),
        result: Some(big_json(300_000).as_str().len() as u64),
    };
    assert_eq!(listed.left_out, sizes);
    let stored = world.events(after.id).await;
    assert_eq!(
        [&stored[2].event, &stored[3].event],
        [&events[0], &events[1]]
    );
}

pub(crate) fn blob(bytes: Vec<u8>) -> Blob {
    let digest = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let bytes = bytes.into();
    Blob { digest, bytes }
}

pub(crate) async fn reads_blobs_in_slices(world: &World) {
    let (_, life) = world.running().await;
    let whole = blob(big_json(1_000_000).as_str().into());
    let empty = blob(Vec::new());
    let mut events = pair(1);
    events[1].blobs = vec![whole.digest.clone(), empty.digest.clone()];
    let command = append(&life, events.clone(), Next::Continue);
    let blobs = vec![whole.clone(), empty.clone(), whole.clone()];
    let life = world
        .apply_with(TENANT, life.id, command, blobs)
        .await
        .unwrap();
    assert_eq!(world.events(life.id).await[3].event.blobs, events[1].blobs);

    let size = whole.bytes.len() as u64;
    for (offset, len) in [
        (0, size),
        (0, u64::MAX),
        (0, 10),
        (262_140, 10),
        (262_144, 262_144),
        (700_000, 5),
        (size - 1, 9),
    ] {
        let slice = world
            .store
            .blob(TENANT, &whole.digest, offset, len)
            .await
            .unwrap();
        let end = offset.saturating_add(len).min(size);
        assert_eq!(
            slice,
            whole.bytes[offset as usize..end as usize],
            "{offset} {len}"
        );
    }
    for offset in [size, size + 1, u64::MAX] {
        assert!(
            world
                .store
                .blob(TENANT, &whole.digest, offset, 10)
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert!(
        world
            .store
            .blob(TENANT, &whole.digest, 5, 0)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        world
            .store
            .blob(TENANT, &empty.digest, 0, 10)
            .await
            .unwrap()
            .is_empty()
    );
    for (tenant, digest) in [
        (OTHER, whole.digest.as_str()),
        (TENANT, &"0".repeat(64)),
        (TENANT, "no digest"),
    ] {
        let missing = world.store.blob(tenant, digest, 0, 10).await.unwrap_err();
        assert_eq!(missing, StoreError::NotFound);
    }

    // A refused append leaves no blob behind.
    let mut stale = life.clone();
    stale.epoch += 1;
    let refused = blob(vec![1; 100]);
    let command = append(&stale, pair(2), Next::Continue);
    assert!(
        world
            .apply_with(TENANT, life.id, command, vec![refused.clone()])
            .await
            .is_err()
    );
    let missing = world
        .store
        .blob(TENANT, &refused.digest, 0, 10)
        .await
        .unwrap_err();
    assert_eq!(missing, StoreError::NotFound);
}

/// The worlds of this suite cap values at 4 MiB.
pub(crate) const CAP: u64 = 4 << 20;

pub(crate) async fn refuses_what_is_too_large(world: &World) {
    let large = big_json(CAP as usize + 10);
    let size = large.as_str().len() as u64;
    let too_large = StoreError::TooLarge { size, cap: CAP };

    let mut new = world.new_task();
    new.task.input = large.clone();
    assert_eq!(world.store.submit(new).await.unwrap_err(), too_large);

    let (_, life) = world.running().await;
    let mut events = pair(1);
    events[0].body = large.as_str().to_owned().into();
    assert_eq!(
        world
            .append(&life, events, Next::Continue)
            .await
            .unwrap_err(),
        too_large
    );
    let next = Next::Complete {
        result: large.clone(),
    };
    assert_eq!(
        world.append(&life, pair(1), next).await.unwrap_err(),
        too_large
    );
    let command = append(&life, pair(1), Next::Continue);
    let blobs = vec![blob(large.as_str().into())];
    let refused = world
        .apply_with(TENANT, life.id, command, blobs)
        .await
        .unwrap_err();
    assert_eq!(refused, too_large);
    let wait = Next::Wait(ops_core::WaitRequest::InDoubt { steps: vec![1] });
    let (_, doubtful) = world.running().await;
    let doubtful = world.append(&doubtful, Vec::new(), wait).await.unwrap();
    let resolution = Resolution::Done {
        output: large.to_value(),
    };
    let resolve = TaskAction::Resolve {
        step: 1,
        resolution,
        by: None,
    };
    assert_eq!(
        world.apply(doubtful.id, resolve).await.unwrap_err(),
        too_large
    );
    let snapshot = Snapshot {
        seq: 1,
        version: 1,
        body: large.as_str().into(),
    };
    let refused = world
        .store
        .put_snapshot(TENANT, life.id, life.epoch, snapshot)
        .await
        .unwrap_err();
    assert_eq!(refused, too_large);
    assert_eq!(world.task(life.id).await.life, life);
}

pub(crate) async fn refuses_a_false_digest(world: &World) {
    let (_, life) = world.running().await;
    let mut lie = blob(vec![1, 2, 3]);
    lie.bytes = [&lie.bytes[..], &[4]].concat().into();
    let command = append(&life, pair(1), Next::Continue);
    assert!(
        world
            .apply_with(TENANT, life.id, command, vec![lie.clone()])
            .await
            .is_err()
    );
    assert!(world.store.blob(TENANT, &lie.digest, 0, 9).await.is_err());
    assert_eq!(world.task(life.id).await.life, life);
}

pub(crate) async fn keeps_the_newest_snapshot(world: &World) {
    let (_, life) = world.running().await;
    let id = life.id;
    assert_eq!(world.store.snapshot(TENANT, id).await.unwrap(), None);
    let snapshot = |seq, version, size| Snapshot {
        seq,
        version,
        body: big_json(size).as_str().into(),
    };
    let put = async |snapshot: Snapshot| {
        world
            .store
            .put_snapshot(TENANT, id, life.epoch, snapshot)
            .await
            .unwrap()
    };
    let kept = async || world.store.snapshot(TENANT, id).await.unwrap().unwrap();
    put(snapshot(10, 1, 100)).await;
    assert_eq!(kept().await, snapshot(10, 1, 100));
    put(snapshot(20, 1, 500_000)).await;
    put(snapshot(15, 1, 100)).await;
    assert_eq!(kept().await, snapshot(20, 1, 500_000));
    put(snapshot(5, 2, 0)).await;
    assert_eq!(kept().await, snapshot(5, 2, 0));
    // A snapshot is no event.
    assert_eq!(world.task(id).await.life.seq, life.seq);
    // A worker that lost its lease keeps none.
    let stale = world
        .store
        .put_snapshot(TENANT, id, life.epoch - 1, snapshot(30, 2, 0))
        .await;
    assert!(matches!(stale, Err(StoreError::Rejected(_))));
    assert_eq!(kept().await, snapshot(5, 2, 0));
}
