//! The embedded store.

use std::sync::{Arc, atomic::Ordering};

use agentkit::memory::long_term::{LongTermMemory, MemoryError, Mode, NewFact, Search};
use agentkit_memory::{Embedded, Embedder, Options, Stored};

use crate::{
    conformance,
    harness::{Words, clerk, store},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_without_an_embedder() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    conformance::suite(async || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let options = Options::new(folder.path().join(format!("{number}.db")));
        Arc::new(Embedded::new(options)) as Arc<dyn LongTermMemory>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_with_an_embedder_that_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    conformance::suite(async || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let embedder = Words::new("words", 64);
        embedder.away.store(true, Ordering::Relaxed);
        let options = Options::new(folder.path().join(format!("{number}.db"))).embedder(embedder);
        Arc::new(Embedded::new(options)) as Arc<dyn LongTermMemory>
    })
    .await;
}

async fn texts(store: &Embedded, query: &str, mode: Mode) -> Result<Vec<String>, MemoryError> {
    let found = store
        .search(&Search::new(clerk(), query).mode(mode))
        .await?;
    Ok(found.hits.into_iter().map(|hit| hit.fact.text).collect())
}

async fn add(store: &Embedded, all: &[&str]) {
    for text in all {
        store.add(&clerk(), NewFact::of(text)).await.unwrap();
    }
}

#[tokio::test]
async fn vectors_find_what_words_do_not_and_both_are_fused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Some(Words::new("words", 256)));
    add(
        &store,
        &[
            "the automobile is fast",
            "the doctor is in",
            "number 4711 is lost",
        ],
    )
    .await;
    assert_eq!(store.embed_all(|_| {}).await.unwrap().pending, 0);
    assert_eq!(
        texts(&store, "quick car", Mode::Text).await.unwrap(),
        [""; 0]
    );
    assert_eq!(
        texts(&store, "quick car", Mode::Dense).await.unwrap()[0],
        "the automobile is fast"
    );
    let search = Search::new(clerk(), "physician 4711");
    let found = store.search(&search).await.unwrap();
    assert_eq!((found.mode, found.notice), (Mode::Hybrid, None));
    let first_two: Vec<&str> = found.hits[..2].iter().map(|hit| &*hit.fact.text).collect();
    assert!(first_two.contains(&"the doctor is in") && first_two.contains(&"number 4711 is lost"));
    let by_both = found
        .hits
        .iter()
        .find(|hit| hit.fact.text.contains("4711"))
        .unwrap()
        .scores;
    assert!(
        by_both.text_rank == Some(1) && by_both.dense_rank.is_some() && by_both.cosine.is_some()
    );
}

/// memory/L4: a new model with the same dimension.
#[tokio::test]
async fn vectors_of_two_models_are_never_mixed_and_a_change_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let first = Words::new("one", 64);
    {
        let store = store(folder.path(), Some(first.clone()));
        for number in 0..40 {
            add(&store, &[&*format!("car number {number}")]).await;
        }
        store.embed_all(|_| {}).await.unwrap();
        assert_eq!(first.texts.load(Ordering::Relaxed), 40);
    }
    let second = Words::new("two", 64);
    second.away.store(true, Ordering::Relaxed);
    {
        let store = store(folder.path(), Some(second.clone()));
        let status = store.status().await.unwrap();
        assert_eq!(
            (status.pending, status.embedder.as_deref()),
            (40, Some("two"))
        );
        let search = Search::new(clerk(), "car");
        let found = store.search(&search).await.unwrap();
        assert_eq!(
            (found.mode, found.hits.len()),
            (Mode::Text, 8),
            "words meanwhile"
        );
        assert!(found.notice.is_some());
        assert!(store.embed_all(|_| {}).await.is_err());
        second.away.store(false, Ordering::Relaxed);
        // The process stops after the first batch.
        let mut left = None;
        let mut progress = |pending| left = left.or(Some(pending));
        let stopped = tokio::time::timeout(
            std::time::Duration::from_secs(60),
            store.embed_all(&mut progress),
        );
        assert!(stopped.await.is_ok());
        assert!(left.is_some_and(|left| left < 40), "{left:?}");
    }
    let third = Words::new("two", 64);
    let store = store(folder.path(), Some(third.clone()));
    assert_eq!(store.embed_all(|_| {}).await.unwrap().pending, 0);
    assert_eq!(
        third.texts.load(Ordering::Relaxed),
        0,
        "nothing is embedded twice"
    );
    assert_eq!(
        texts(&store, "automobile number 7", Mode::Dense)
            .await
            .unwrap()
            .len(),
        8
    );
}

#[tokio::test]
async fn an_embedder_that_is_away_costs_vectors_alone() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Words::new("words", 64);
    let store = store(folder.path(), Some(embedder.clone()));
    add(&store, &["the automobile is fast"]).await;
    store.embed_all(|_| {}).await.unwrap();
    embedder.away.store(true, Ordering::Relaxed);
    add(&store, &["a bicycle is slow"]).await;
    let found = store
        .search(&Search::new(clerk(), "bicycle"))
        .await
        .unwrap();
    assert_eq!((found.hits.len(), found.mode), (1, Mode::Text));
    assert!(found.notice.unwrap().contains("does not answer"));
    let dense = texts(&store, "bicycle", Mode::Dense).await;
    assert!(
        matches!(dense, Err(MemoryError::Embedder(_))),
        "an error is never an empty result: {dense:?}"
    );
    embedder.away.store(false, Ordering::Relaxed);
    store.embed_all(|_| {}).await.unwrap();
    assert_eq!(
        texts(&store, "bicycle", Mode::Dense).await.unwrap().len(),
        2
    );
}

/// memory/L11, L12.
#[tokio::test]
async fn odd_vectors_and_batches_cost_their_own_text_alone() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Words::new("words", 64);
    embedder.most.store(3, Ordering::Relaxed);
    let store = store(folder.path(), Some(embedder.clone()));
    let all: Vec<String> = (0..10)
        .map(|number| format!("car number {number}"))
        .collect();
    add(&store, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    add(&store, &["a poison pill"]).await;
    let status = store.embed_all(|_| {}).await.unwrap();
    assert_eq!((status.pending, status.refused), (0, 1));
    assert_eq!(texts(&store, "car", Mode::Dense).await.unwrap().len(), 8);
    assert_eq!(
        texts(&store, "pill", Mode::Text).await.unwrap()[0],
        "a poison pill"
    );
    for odd in [
        vec![f32::NAN; 64],
        vec![0.0; 64],
        vec![f32::INFINITY; 64],
        vec![],
    ] {
        *embedder.instead.lock().unwrap() = Some(odd.clone());
        let refused = texts(&store, "car", Mode::Dense).await;
        assert!(
            matches!(refused, Err(MemoryError::Vector(_))),
            "{odd:?}: {refused:?}"
        );
        let hybrid = store.search(&Search::new(clerk(), "car")).await.unwrap();
        assert_eq!((hybrid.mode, hybrid.hits.len()), (Mode::Text, 8));
    }
    *embedder.instead.lock().unwrap() = Some(vec![1.0; 63]);
    let refused = texts(&store, "car", Mode::Dense).await;
    assert!(
        matches!(&refused, Err(MemoryError::Vector(message)) if message.contains("63")),
        "{refused:?}"
    );
    add(&store, &["one more car"]).await;
    let refused = store.embed_all(|_| {}).await;
    assert!(
        matches!(&refused, Err(MemoryError::Vector(message)) if message.contains("63")),
        "{refused:?}"
    );
    *embedder.instead.lock().unwrap() = None;
    assert_eq!(store.embed_all(|_| {}).await.unwrap().pending, 0);
}

#[tokio::test]
async fn the_index_follows_its_rows_whoever_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let embedder: Arc<dyn Embedder> = Words::new("words", 64);
    let (one, two) = (
        store(folder.path(), Some(embedder.clone())),
        store(folder.path(), Some(embedder)),
    );
    let mut ids = Vec::new();
    for number in 0..200 {
        let text = format!("car number {number}");
        ids.push(one.add(&clerk(), NewFact::of(&text)).await.unwrap().id);
    }
    one.embed_all(|_| {}).await.unwrap();
    assert_eq!(
        texts(&two, "automobile", Mode::Dense).await.unwrap().len(),
        8
    );
    add(&two, &["an automobile"]).await;
    two.embed_all(|_| {}).await.unwrap();
    assert_eq!(
        texts(&one, "automobile", Mode::Dense).await.unwrap()[0],
        "an automobile"
    );
    // Most rows go: the gaps are closed, and what is left is found.
    for id in &ids[..190] {
        one.delete(&clerk(), id, "test").await.unwrap();
    }
    for store in [&one, &two] {
        let search = Search::new(clerk(), "automobile")
            .mode(Mode::Dense)
            .limit(50);
        let hits = store.search(&search).await.unwrap().hits;
        assert_eq!(hits.len(), 11);
    }
    let status = one.status().await.unwrap();
    assert_eq!((status.facts, status.pending), (11, 0));
}

#[tokio::test]
async fn a_filter_of_vectors_gives_as_many_hits_as_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Some(Words::new("words", 64)));
    for number in 0..300 {
        add(&store, &[&*format!("car number {number}")]).await;
    }
    for number in 0..20 {
        let fact = NewFact {
            labels: ["rare".to_owned()].into(),
            ..NewFact::of(&format!("a doctor, number {number}"))
        };
        store.add(&clerk(), fact).await.unwrap();
    }
    // A long fact whose chunks are all nearer than any other fact.
    add(&store, &[&*"car ".repeat(200_000)]).await;
    store.embed_all(|_| {}).await.unwrap();
    let mut search = Search::new(clerk(), "car").mode(Mode::Dense).limit(15);
    let hits = store.search(&search).await.unwrap().hits;
    assert_eq!(hits.len(), 15, "chunks of one fact are one hit");
    search.filter.labels.insert("rare".to_owned());
    assert_eq!(store.search(&search).await.unwrap().hits.len(), 15);
    assert_eq!(
        store.search(&search.limit(200)).await.unwrap().hits.len(),
        20
    );
}

#[tokio::test]
async fn nothing_is_made_before_the_first_call_and_a_newer_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), None);
    assert_eq!(store.stored(), Stored::Absent);
    assert_eq!(store.expire(1).await.unwrap(), 0);
    assert_eq!(store.stored(), Stored::Absent);
    add(&store, &["x"]).await;
    assert!(matches!(store.stored(), Stored::Bytes(1..)));
    let path = folder.path().join("newer.db");
    std::fs::write(
        &path,
        b"no database at all, and long enough to be looked at as one",
    )
    .unwrap();
    let broken = Embedded::new(Options::new(&path));
    let refused = broken.add(&clerk(), NewFact::of("x")).await;
    assert!(
        matches!(&refused, Err(MemoryError::Away(message)) if message.contains("newer.db")),
        "{refused:?}"
    );
    std::fs::remove_file(&path).unwrap();
    assert!(
        broken.add(&clerk(), NewFact::of("x")).await.is_ok(),
        "a later call tries again"
    );
}

#[tokio::test]
async fn a_namespace_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path().join("memory.db"));
    options.max_facts = 2;
    let store = Embedded::new(options);
    let first = store.add(&clerk(), NewFact::of("one")).await.unwrap();
    add(&store, &["two"]).await;
    let refused = store.add(&clerk(), NewFact::of("three")).await;
    assert!(
        matches!(&refused, Err(MemoryError::Invalid(message)) if message.contains("max_facts"))
    );
    store.delete(&clerk(), &first.id, "room").await.unwrap();
    add(&store, &["three"]).await;
}

/// An erased text is in no file: neither in a page, nor in the log, nor in the index of words. The files are the owner's.
#[tokio::test]
async fn an_erased_text_is_gone_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), None);
    add(&store, &["The code word of the vault is xylophonium"]).await;
    let found = store.list(&clerk(), None, 10).await.unwrap().facts;
    let holds = || {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files.flatten().any(|file| {
            let bytes = std::fs::read(file.path()).unwrap();
            bytes.windows(11).any(|part| part == b"xylophonium")
        })
    };
    assert!(holds(), "the text is on the disk before");
    store
        .delete(&clerk(), &found[0].id, "it must go")
        .await
        .unwrap();
    assert!(!holds());
    #[cfg(unix)]
    for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}
