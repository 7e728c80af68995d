//! kill -9 while facts are added: no acknowledged fact is lost, and all of them are found.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use agentkit::memory::long_term::{LongTermMemory, Mode, NewFact, Search};

use crate::harness::{Words, clerk, store};

const FOLDER: &str = "OPSPAWN_MEMORY_TEST_FOLDER";
const ROUND: &str = "OPSPAWN_MEMORY_TEST_ROUND";

/// The process that is killed; it does nothing where no parent has set its folder.
#[test]
fn child() {
    let (Some(folder), Ok(round)) = (std::env::var_os(FOLDER), std::env::var(ROUND)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async move {
        let store = store(std::path::Path::new(&folder), Some(Words::new("words", 64)));
        for number in 0.. {
            let text = format!("round {round} has the fact r{round}n{number}");
            let added = store.add(&clerk(), NewFact::of(&text)).await.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "\nadded {} r{round}n{number}", added.id).unwrap();
            out.flush().unwrap();
        }
    });
}

#[test]
fn no_acknowledged_fact_is_lost_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["fault::child", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let most = 15 + round * 17;
        let mut count = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((id, word)) = line
                .strip_prefix("added ")
                .and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            acknowledged.push((id.to_owned(), word.to_owned()));
            count += 1;
            if count == most {
                // SIGKILL, in the middle of further adds.
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert!(!status.success(), "the kill landed");
        assert!(count >= most);
    }
    println!("6 kills, {} acknowledged facts", acknowledged.len());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = store(folder.path(), Some(Words::new("words", 64)));
        assert_eq!(store.embed_all(|_| {}).await.unwrap().pending, 0);
        for (id, word) in &acknowledged {
            assert!(store.get(&clerk(), id).await.is_ok(), "{id} is lost");
            for mode in [Mode::Text, Mode::Dense] {
                // The whole text, which is its own nearest one.
                let round = &word[1..2];
                let text = format!("round {round} has the fact {word}");
                let search = Search::new(clerk(), &text).mode(mode);
                let hits = store.search(&search).await.unwrap().hits;
                assert!(
                    hits.iter().any(|hit| hit.fact.id == *id),
                    "{word} is not found by {mode:?}"
                );
            }
        }
    });
}
