//! What every store of long-term memory does. A backend gives a function that makes an empty store.

use std::{collections::BTreeSet, sync::Arc};

use agentkit::memory::long_term::{
    FactState, Filter, LongTermMemory, MemoryError, Mode, Namespace, NewFact, Provenance, Search,
    Source,
};

type Store = Arc<dyn LongTermMemory>;

fn clerk() -> Namespace {
    Namespace::of_agent("default", "clerk")
}

/// A fact that a model told in a task.
fn told(text: &str, task: &str) -> NewFact {
    NewFact {
        provenance: Provenance {
            source: Source::Model,
            task: Some(task.to_owned()),
            step: Some(3),
            ..Provenance::default()
        },
        ..NewFact::of(text)
    }
}

async fn found(store: &Store, namespace: &Namespace, query: &str) -> Vec<String> {
    let search = Search::new(namespace.clone(), query).mode(Mode::Text);
    let found = store.search(&search).await.unwrap();
    found.hits.into_iter().map(|hit| hit.fact.text).collect()
}

/// Runs the whole suite; each case gets a store of its own.
pub(crate) async fn suite<F: AsyncFn() -> Store>(make: F) {
    added_facts_are_found_with_their_origin(&make().await).await;
    an_equal_text_is_one_fact(&make().await).await;
    a_repeated_write_is_one_write(&make().await).await;
    writes_that_meet_make_one_fact(&make().await).await;
    facts_that_differ_in_little_stay_apart(&make().await).await;
    only_equal_pairs_supersede(&make().await).await;
    an_update_supersedes(&make().await).await;
    forgotten_facts_are_found_by_no_route(&make().await).await;
    forgetting_cascades_and_can_be_undone(&make().await).await;
    what_a_task_recalled_is_not_stored_again(&make().await).await;
    namespaces_are_walls(&make().await).await;
    filters_leave_as_many_hits_as_there_are(&make().await).await;
    facts_expire(&make().await).await;
    a_long_text_is_found_by_any_part(&make().await).await;
    text_of_users_is_no_syntax(&make().await).await;
    pages_are_whole(&make().await).await;
    secrets_are_refused(&make().await).await;
    version_1_calls_work(&make().await).await;
}

async fn added_facts_are_found_with_their_origin(store: &Store) {
    let added = store
        .add(&clerk(), told("Ada likes tea", "task_1"))
        .await
        .unwrap();
    assert!(added.is_new && added.id.starts_with("fact_"), "{added:?}");
    let fact = store.get(&clerk(), &added.id).await.unwrap();
    assert_eq!(
        (&*fact.text, fact.state),
        ("Ada likes tea", FactState::Current)
    );
    assert_eq!(fact.provenance.task.as_deref(), Some("task_1"));
    assert_eq!(
        (fact.provenance.step, fact.provenance.source),
        (Some(3), Source::Model)
    );
    assert_eq!(found(store, &clerk(), "tea").await, ["Ada likes tea"]);
    assert_eq!(found(store, &clerk(), "coffee").await, [""; 0]);
    let why = store.why(&clerk(), &added.id).await.unwrap();
    assert_eq!(
        (why.fact, why.read_by),
        (fact, Vec::new()),
        "a search without a reader writes nothing"
    );
    let missing = store.get(&clerk(), "fact_none").await;
    assert_eq!(missing, Err(MemoryError::NotFound("fact_none".to_owned())));
}

async fn an_equal_text_is_one_fact(store: &Store) {
    let first = store
        .add(&clerk(), NewFact::of("The port is 80."))
        .await
        .unwrap();
    let again = store
        .add(&clerk(), NewFact::of("  the  port is 80"))
        .await
        .unwrap();
    assert_eq!((again.id, again.is_new), (first.id, false));
    let other = store
        .add(
            &Namespace::of_agent("default", "b"),
            NewFact::of("The port is 80."),
        )
        .await
        .unwrap();
    assert!(other.is_new, "another namespace has it not");
}

async fn a_repeated_write_is_one_write(store: &Store) {
    let fact = |text: &str| NewFact {
        key: Some("key-1".to_owned()),
        ..NewFact::of(text)
    };
    let first = store.add(&clerk(), fact("Ada likes tea")).await.unwrap();
    let again = store.add(&clerk(), fact("Ada likes tea")).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(store.list(&clerk(), None, 10).await.unwrap().facts.len(), 1);
    // Also when the fact is gone by now: the write was made.
    store.delete(&clerk(), &first.id, "test").await.unwrap();
    assert_eq!(
        store.add(&clerk(), fact("Ada likes tea")).await.unwrap().id,
        first.id
    );
    assert_eq!(found(store, &clerk(), "tea").await, [""; 0]);
}

/// memory/L10: two adds that meet.
async fn writes_that_meet_make_one_fact(store: &Store) {
    let adds = (0..20).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            store
                .add(&clerk(), NewFact::of("Ada likes tea"))
                .await
                .unwrap()
        })
    });
    let mut added = Vec::new();
    for add in adds.collect::<Vec<_>>() {
        added.push(add.await.unwrap());
    }
    assert_eq!(added.iter().filter(|added| added.is_new).count(), 1);
    assert_eq!(
        added
            .iter()
            .map(|added| &added.id)
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
}

/// memory/L6: near-duplicates that differ.
async fn facts_that_differ_in_little_stay_apart(store: &Store) {
    let texts = [
        "The review is on the 15th",
        "The review is on the 16th",
        "The door is open",
        "The door is not open",
        "Ada pays 10 EUR",
        "Ada pays 10 USD",
        "Ben pays 10 EUR",
        "version 1.2.3",
        "version 1.2.4",
    ];
    for text in texts {
        assert!(
            store.add(&clerk(), NewFact::of(text)).await.unwrap().is_new,
            "{text}"
        );
    }
    assert_eq!(
        store.list(&clerk(), None, 100).await.unwrap().facts.len(),
        texts.len()
    );
}

/// memory/L14: contradictions sweep too far; valid time is not stored time.
async fn only_equal_pairs_supersede(store: &Store) {
    let pair = |text: &str, subject: &str, relation: &str, valid: i64| NewFact {
        subject: Some(subject.to_owned()),
        relation: Some(relation.to_owned()),
        valid_micros: Some(valid),
        ..NewFact::of(text)
    };
    let first = store
        .add(&clerk(), pair("X works at A", "X", "employer", 10))
        .await
        .unwrap();
    let other = store
        .add(
            &clerk(),
            pair("X runs A's repository", "X", "repository", 11),
        )
        .await
        .unwrap();
    assert!(other.superseded.is_empty());
    let later = store
        .add(&clerk(), pair("X works at B", "X", "employer", 20))
        .await
        .unwrap();
    assert_eq!(later.superseded, std::slice::from_ref(&first.id));
    let older = store
        .add(&clerk(), pair("X works at Z", "X", "employer", 5))
        .await
        .unwrap();
    assert!(older.superseded.is_empty());
    let state = async |id: &str| {
        let fact = store.get(&clerk(), id).await.unwrap();
        (fact.state, fact.superseded_by)
    };
    assert_eq!(
        state(&first.id).await,
        (FactState::Superseded, Some(later.id.clone()))
    );
    assert_eq!(
        state(&older.id).await,
        (FactState::Superseded, Some(later.id.clone()))
    );
    assert_eq!(state(&later.id).await, (FactState::Current, None));
    assert_eq!(
        found(store, &clerk(), "X works").await,
        ["X works at B", "X runs A's repository"]
    );
}

async fn an_update_supersedes(store: &Store) {
    let long = "old words ".repeat(1_000);
    let first = store.add(&clerk(), NewFact::of(&long)).await.unwrap();
    let next = store
        .update(&clerk(), &first.id, NewFact::of("new words"))
        .await
        .unwrap();
    assert_eq!(next.superseded, std::slice::from_ref(&first.id));
    let old = store.get(&clerk(), &first.id).await.unwrap();
    assert_eq!(
        (old.text, old.state),
        (long, FactState::Superseded),
        "never overwritten"
    );
    // memory/L8: an update to fewer chunks.
    assert_eq!(found(store, &clerk(), "old").await, [""; 0]);
    assert_eq!(found(store, &clerk(), "words").await, ["new words"]);
    let again = store
        .update(&clerk(), &first.id, NewFact::of("newer words"))
        .await;
    assert!(matches!(again, Err(MemoryError::Invalid(_))), "{again:?}");
}

/// memory/L8: deleted, still found.
async fn forgotten_facts_are_found_by_no_route(store: &Store) {
    let added = store
        .add(&clerk(), NewFact::of("Ada likes tea"))
        .await
        .unwrap();
    assert_eq!(
        store
            .delete(&clerk(), &added.id, "she asked")
            .await
            .unwrap(),
        std::slice::from_ref(&added.id)
    );
    assert_eq!(found(store, &clerk(), "tea").await, [""; 0]);
    let tombstone = store.get(&clerk(), &added.id).await.unwrap();
    assert_eq!(
        (&*tombstone.text, tombstone.state),
        ("", FactState::Deleted)
    );
    assert_eq!(tombstone.reason.as_deref(), Some("she asked"));
    let page = store.list(&clerk(), None, 10).await.unwrap();
    assert!(page.facts.iter().all(|fact| fact.text.is_empty()));
    assert!(
        store.restore(&clerk(), &added.id).await.is_err(),
        "an erased text does not come back"
    );
    let anew = store
        .add(&clerk(), NewFact::of("Ada likes tea"))
        .await
        .unwrap();
    assert!(anew.is_new && anew.id != added.id);
    assert_eq!(found(store, &clerk(), "tea").await, ["Ada likes tea"]);
}

async fn forgetting_cascades_and_can_be_undone(store: &Store) {
    let first = store
        .add(&clerk(), NewFact::of("The vault is in Oslo"))
        .await
        .unwrap();
    let derived = |text: &str, from: &str| NewFact {
        provenance: Provenance {
            derived_from: vec![from.to_owned()],
            ..Provenance::default()
        },
        ..NewFact::of(text)
    };
    let second = store
        .add(&clerk(), derived("The vault is in Norway", &first.id))
        .await
        .unwrap();
    let third = store
        .add(&clerk(), derived("The vault is in Europe", &second.id))
        .await
        .unwrap();
    let other = store
        .add(&clerk(), NewFact::of("The vault is green"))
        .await
        .unwrap();
    let hidden = store
        .invalidate(&clerk(), &first.id, "it moved")
        .await
        .unwrap();
    assert_eq!(
        hidden,
        [first.id.clone(), second.id.clone(), third.id.clone()]
    );
    assert_eq!(
        found(store, &clerk(), "vault").await,
        ["The vault is green"]
    );
    assert_eq!(
        store
            .invalidate(&clerk(), &first.id, "again")
            .await
            .unwrap(),
        std::slice::from_ref(&first.id)
    );
    let why = store.why(&clerk(), &third.id).await.unwrap();
    assert_eq!(why.derived_from, [second.id.clone(), first.id.clone()]);
    assert_eq!(why.fact.reason.as_deref(), Some("it moved"));
    let restored = store.restore(&clerk(), &first.id).await.unwrap();
    assert_eq!(
        restored,
        [first.id.clone(), second.id.clone(), third.id.clone()]
    );
    assert_eq!(found(store, &clerk(), "vault").await.len(), 4);
    let erased = store.delete(&clerk(), &second.id, "wrong").await.unwrap();
    assert_eq!(erased, [second.id, third.id]);
    assert_eq!(found(store, &clerk(), "vault").await.len(), 2);
    let unknown = store.add(&clerk(), derived("x", "fact_none")).await;
    assert_eq!(unknown, Err(MemoryError::NotFound("fact_none".to_owned())));
    assert_eq!(
        store.get(&clerk(), &other.id).await.unwrap().state,
        FactState::Current
    );
}

/// memory/L5: what was recalled is never stored again, fifty runs over, and no news is taken for it.
async fn what_a_task_recalled_is_not_stored_again(store: &Store) {
    let text = "The deploy port of Zephyr is 8443";
    let first = store.add(&clerk(), told(text, "task_0")).await.unwrap();
    let phrases = [
        text,
        "the deploy port of Zephyr is 8443.",
        "Deployed: port of Zephyr, 8443",
        "Goal: which port has Zephyr?\nOutcome: The deploy port of Zephyr is 8443",
    ];
    for run in 1..=50 {
        let task = format!("task_{run}");
        let search = Search {
            reader: Some((task.clone(), 1)),
            mode: Mode::Text,
            ..Search::new(clerk(), "the port of Zephyr")
        };
        assert!(!store.search(&search).await.unwrap().hits.is_empty());
        for text in phrases {
            let added = store.add(&clerk(), told(text, &task)).await.unwrap();
            assert_eq!((&added.id, added.is_new), (&first.id, false), "{text}");
        }
    }
    assert_eq!(
        store.list(&clerk(), None, 100).await.unwrap().facts.len(),
        1
    );
    let news = store
        .add(
            &clerk(),
            told("The deploy port of Zephyr is 9443", "task_1"),
        )
        .await
        .unwrap();
    assert!(news.is_new);
    let why = store.why(&clerk(), &news.id).await.unwrap();
    assert_eq!(
        why.derived_from,
        std::slice::from_ref(&first.id),
        "its task had read that fact"
    );
    let why = store.why(&clerk(), &first.id).await.unwrap();
    assert_eq!((why.read_by.len(), why.led_to), (50, vec![news.id]));
    for (text, news) in [
        (
            "The order of Anna is shipped",
            "The order of Boris is shipped",
        ),
        ("Alice owes Bob five euros", "Bob owes Alice five euros"),
        (
            "Room 10 is free and room 20 is taken",
            "Room 20 is free and room 10 is taken",
        ),
    ] {
        store.add(&clerk(), NewFact::of(text)).await.unwrap();
        let search = Search {
            reader: Some(("task_news".to_owned(), 1)),
            mode: Mode::Text,
            ..Search::new(clerk(), text)
        };
        assert!(!store.search(&search).await.unwrap().hits.is_empty());
        let added = store.add(&clerk(), told(news, "task_news")).await.unwrap();
        assert!(added.is_new, "{news}");
    }
}

/// memory/L7: scope lost on a side path.
async fn namespaces_are_walls(store: &Store) {
    let spaces = [
        clerk(),
        clerk().with_user(Some("u1")),
        clerk().with_user(Some("u10")),
        clerk().with_user(Some("*")),
        clerk().with_user(Some("%")),
        Namespace::of_agent("other", "clerk"),
        Namespace::of_agent("default", "clerk2"),
        Namespace {
            agent: None,
            ..clerk()
        },
    ];
    let mut ids = Vec::new();
    for (index, space) in spaces.iter().enumerate() {
        let added = store
            .add(space, NewFact::of(&format!("secret garden number {index}")))
            .await
            .unwrap();
        let equal = store
            .add(space, NewFact::of("the same words"))
            .await
            .unwrap();
        assert!(added.is_new && equal.is_new, "{space:?}");
        ids.push(added.id);
    }
    for (index, space) in spaces.iter().enumerate() {
        assert_eq!(
            found(store, space, "garden").await,
            [format!("secret garden number {index}")]
        );
        assert_eq!(store.list(space, None, 10).await.unwrap().facts.len(), 2);
        for (other, id) in ids.iter().enumerate().filter(|(other, _)| *other != index) {
            let not_found = MemoryError::NotFound(id.clone());
            assert_eq!(
                store.get(space, id).await,
                Err(not_found.clone()),
                "{space:?} {other}"
            );
            assert_eq!(store.why(space, id).await, Err(not_found.clone()));
            assert_eq!(store.delete(space, id, "x").await, Err(not_found.clone()));
            assert_eq!(
                store.invalidate(space, id, "x").await,
                Err(not_found.clone())
            );
            assert_eq!(store.restore(space, id).await, Err(not_found.clone()));
            assert_eq!(
                store.update(space, id, NewFact::of("x")).await,
                Err(not_found.clone())
            );
            assert_eq!(store.list(space, Some(id), 10).await, Err(not_found));
        }
    }
    let foreign = NewFact {
        provenance: Provenance {
            derived_from: vec![ids[5].clone()],
            ..Provenance::default()
        },
        ..NewFact::of("derived from another tenant's fact")
    };
    assert_eq!(
        store.add(&clerk(), foreign).await,
        Err(MemoryError::NotFound(ids[5].clone()))
    );
    for user in ["", " "] {
        let space = clerk().with_user(Some(user));
        assert!(matches!(
            store.add(&space, NewFact::of("x")).await,
            Err(MemoryError::Invalid(_))
        ));
    }
    let both = Search {
        namespaces: clerk().with_user(Some("u1")).readable(),
        ..Search::new(clerk(), "garden")
    };
    let hits = store.search(&both).await.unwrap().hits;
    assert_eq!(hits.len(), 2, "its own and the agent's");
}

/// memory/L3: a filter after the scan.
async fn filters_leave_as_many_hits_as_there_are(store: &Store) {
    for number in 0..300 {
        store
            .add(
                &clerk(),
                NewFact::of(&format!("a near fact, number {number}")),
            )
            .await
            .unwrap();
    }
    let rare = |text: &str| NewFact {
        labels: BTreeSet::from(["rare".to_owned()]),
        ..NewFact::of(text)
    };
    for number in 0..20 {
        let text =
            format!("seldom: a fact somewhat farther from it, with more words, number {number}");
        store.add(&clerk(), rare(&text)).await.unwrap();
    }
    for mode in [Mode::Text, Mode::Hybrid] {
        let filter = Filter {
            labels: BTreeSet::from(["rare".to_owned()]),
            ..Filter::default()
        };
        let search = Search::new(clerk(), "a near fact")
            .limit(10)
            .mode(mode)
            .filter(filter.clone());
        let hits = store.search(&search).await.unwrap().hits;
        assert_eq!(hits.len(), 10, "{mode:?}");
        assert!(hits.iter().all(|hit| hit.fact.labels.contains("rare")));
        let all = store.search(&search.clone().limit(200)).await.unwrap().hits;
        assert_eq!(all.len(), 20, "{mode:?}");
        let old = Filter {
            until_micros: Some(1),
            ..filter
        };
        assert!(
            store
                .search(&search.filter(old))
                .await
                .unwrap()
                .hits
                .is_empty()
        );
    }
}

async fn facts_expire(store: &Store) {
    let fact = NewFact {
        expires_micros: Some(1_000),
        ..NewFact::of("gone soon")
    };
    let added = store.add(&clerk(), fact).await.unwrap();
    assert_eq!(store.expire(999).await.unwrap(), 0);
    assert_eq!(found(store, &clerk(), "gone").await, ["gone soon"]);
    assert_eq!(store.expire(1_000).await.unwrap(), 1);
    assert_eq!(found(store, &clerk(), "gone").await, [""; 0]);
    assert_eq!(
        store.get(&clerk(), &added.id).await.unwrap().state,
        FactState::Expired
    );
}

/// 10 MB of text.
async fn a_long_text_is_found_by_any_part(store: &Store) {
    let mut text = "filler words of no meaning. ".repeat(370_000);
    text.push_str("The treasure is under the third oak.");
    assert!(text.len() > 10_000_000);
    store.add(&clerk(), NewFact::of(&text)).await.unwrap();
    store
        .add(&clerk(), NewFact::of("filler of another fact"))
        .await
        .unwrap();
    let search = Search::new(clerk(), "treasure under the oak").mode(Mode::Text);
    let hits = store.search(&search).await.unwrap().hits;
    assert_eq!(hits.len(), 1);
    assert!(hits[0].excerpt.contains("third oak") && hits[0].excerpt.len() < 2_000);
    let search = Search::new(clerk(), "filler").mode(Mode::Text).limit(2);
    assert_eq!(
        store.search(&search).await.unwrap().hits.len(),
        2,
        "chunks of one fact are one hit"
    );
    let too_long = NewFact::of(&"x".repeat(13 << 20));
    assert!(matches!(
        store.add(&clerk(), too_long).await,
        Err(MemoryError::Invalid(_))
    ));
}

/// memory/L1.
async fn text_of_users_is_no_syntax(store: &Store) {
    let texts = [
        "BENCH-100821",
        "don't panic",
        "ubuntu 20.04",
        concat!("TO", "DO: fix"),
        "40 GB/s",
        "AND then",
        "NEAR the end",
        "a \"quoted\" word",
        "star*",
        "(brackets)",
        "nul\0byte",
        "naïve café",
        "日本語 テスト",
    ];
    for text in texts {
        store.add(&clerk(), NewFact::of(text)).await.unwrap();
    }
    for text in texts {
        let hits = found(store, &clerk(), text).await;
        let text = text.replace('\0', " ");
        assert_eq!(hits.first(), Some(&text), "{text:?}: {hits:?}");
    }
    for query in ["\"", "*", "()", "NOT", "^"] {
        let search = Search::new(clerk(), query).mode(Mode::Text);
        assert!(store.search(&search).await.is_ok(), "{query}");
    }
}

async fn pages_are_whole(store: &Store) {
    for number in 0..25 {
        store
            .add(&clerk(), NewFact::of(&format!("fact {number}")))
            .await
            .unwrap();
    }
    let (mut texts, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&clerk(), after.as_deref(), 10).await.unwrap();
        texts.extend(page.facts.into_iter().map(|fact| fact.text));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..25).map(|number| format!("fact {number}")).collect();
    assert_eq!(texts, expected);
    assert!(store.list(&clerk(), None, 0).await.is_err());
}

async fn secrets_are_refused(store: &Store) {
    let text = ["the key is s", "k-abcdefghijklmnopqrstuvwx"].concat();
    let refused = store.add(&clerk(), NewFact::of(&text)).await;
    assert!(
        matches!(refused, Err(MemoryError::Secret(_))),
        "{refused:?}"
    );
    let added = store.add(&clerk(), NewFact::of("harmless")).await.unwrap();
    assert!(
        store
            .update(&clerk(), &added.id, NewFact::of(&text))
            .await
            .is_err()
    );
    assert!(store.delete(&clerk(), &added.id, &text).await.is_err());
    let page = store.list(&clerk(), None, 10).await.unwrap();
    assert_eq!(page.facts.len(), 1);
}

async fn version_1_calls_work(store: &Store) {
    let id = store.add_memory(&clerk(), "Ada likes tea").await.unwrap();
    assert!(store.get(&clerk(), &id).await.is_ok());
    let found = store.search_memory(&clerk(), "tea", 3).await.unwrap();
    assert_eq!(found, ["Ada likes tea"]);
}
