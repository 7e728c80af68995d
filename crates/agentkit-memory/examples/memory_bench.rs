//! Measures the embedded store on vectors of a seeded generator: wide clusters that overlap.
//!
//! `cargo run -p agentkit-memory --example memory_bench -- [FACTS] [DIMENSION]` prints a line of JSON for each figure. Build
//! it with optimisation. Every write is durable, as in use.

#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{sync::Arc, time::Instant};

use agentkit::{
    BoxFuture,
    memory::long_term::{LongTermMemory as _, Mode, Namespace, NewFact, Search},
};
use agentkit_memory::{EmbedError, Embedded, Embedder, Options};
use serde_json::json;

const CLUSTERS: usize = 50;
const QUERIES: usize = 200;
const SEED: u64 = 20_231_107;

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal: the sum of twelve uniform numbers, less six.
    fn normal(&mut self) -> f32 {
        let uniform = |z: u64| (z >> 40) as f32 / (1_u64 << 24) as f32;
        (0..12).map(|_| uniform(self.next())).sum::<f32>() - 6.0
    }
}

/// Vectors by the number in a text: `v7` is a fact, `q7` a query.
struct Generated {
    facts: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
}

impl Generated {
    fn new(count: usize, dimension: usize) -> Self {
        let mut dice = Dice(SEED);
        let mut normal =
            |scale: f32| -> Vec<f32> { (0..dimension).map(|_| dice.normal() * scale).collect() };
        let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| normal(0.6)).collect();
        let mut one = |number: usize| {
            let noise = normal(1.0);
            let mixed = noise
                .iter()
                .zip(&centres[number % CLUSTERS])
                .map(|(noise, centre)| noise + centre);
            let vector: Vec<f32> = mixed.collect();
            let length = vector
                .iter()
                .map(|number| number * number)
                .sum::<f32>()
                .sqrt();
            vector
                .into_iter()
                .map(|number| number / length)
                .collect::<Vec<f32>>()
        };
        Self {
            facts: (0..count).map(&mut one).collect(),
            queries: (0..QUERIES).map(&mut one).collect(),
        }
    }

    /// Numbers of the ten nearest facts, by full precision.
    fn nearest(&self, query: usize) -> Vec<usize> {
        let dot = |fact: &Vec<f32>| {
            fact.iter()
                .zip(&self.queries[query])
                .map(|(a, b)| a * b)
                .sum::<f32>()
        };
        let mut all: Vec<(f32, usize)> = self.facts.iter().map(dot).zip(0..).collect();
        all.sort_by(|one, two| two.0.total_cmp(&one.0));
        all[..10].iter().map(|(_, number)| *number).collect()
    }
}

impl Embedder for Generated {
    fn fingerprint(&self) -> &str {
        "generated"
    }

    fn batch(&self) -> usize {
        2_000
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let vector = |text: &String| {
            let number: usize = text[1..]
                .split_whitespace()
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            match text.starts_with('q') {
                true => self.queries[number % QUERIES].clone(),
                false => self.facts[number % self.facts.len()].clone(),
            }
        };
        let vectors = texts.iter().map(vector).collect();
        Box::pin(async move { Ok(vectors) })
    }
}

fn tell(figure: &str, mut millis: Vec<f64>) {
    millis.sort_by(f64::total_cmp);
    let at = |part: f64| {
        (millis[((millis.len() - 1) as f64 * part) as usize] * 1_000.0).round() / 1_000.0
    };
    println!(
        "{}",
        json!({"figure": figure, "n": millis.len(), "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99)})
    );
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

#[tokio::main]
async fn main() {
    let argument = |at: usize, usual: usize| {
        std::env::args()
            .nth(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let (count, dimension) = (argument(1, 100_000), argument(2, 384));
    let generated = Arc::new(Generated::new(count, dimension));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("memory.db");
    let space = Namespace::of_agent("default", "bench");
    let store = Arc::new(Embedded::new(
        Options::new(&path).embedder(generated.clone()),
    ));
    let begun = Instant::now();
    let mut adds = tokio::task::JoinSet::new();
    for number in 0..count {
        if adds.len() >= 128 {
            adds.join_next().await;
        }
        let (store, space) = (Arc::clone(&store), space.clone());
        let mut fact = NewFact::of(&format!("v{number}"));
        if number % 10 == 3 {
            fact.labels.insert("tenth".to_owned());
        }
        adds.spawn(async move { store.add(&space, fact).await.expect("a durable add") });
    }
    while adds.join_next().await.is_some() {}
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"figure": "adds, 128 at once", "n": count, "per_second": (count as f64 / seconds).round()})
    );
    store.embed_all(|_| {}).await.expect("vectors");
    drop(store);
    let nearest: Vec<Vec<usize>> = (0..QUERIES).map(|query| generated.nearest(query)).collect();

    let before = rss_mib();
    let store = Embedded::new(Options::new(&path).embedder(generated.clone()));
    let ask = |query: usize| {
        Search::new(space.clone(), &format!("q{query}"))
            .mode(Mode::Dense)
            .limit(10)
    };
    let begun = Instant::now();
    store.search(&ask(0)).await.expect("a search");
    println!(
        "{}",
        json!({"figure": "first search, builds the index", "ms": begun.elapsed().as_millis() as u64})
    );
    let (mut plain, mut filtered, mut hits) = (Vec::new(), Vec::new(), 0);
    for (query, nearest) in nearest.iter().enumerate() {
        let begun = Instant::now();
        let found = store.search(&ask(query)).await.expect("a search");
        plain.push(begun.elapsed().as_secs_f64() * 1_000.0);
        let numbers = found
            .hits
            .iter()
            .filter_map(|hit| hit.fact.text[1..].parse::<usize>().ok());
        hits += numbers.filter(|number| nearest.contains(number)).count();
        let mut search = ask(query);
        search.filter.labels.insert("tenth".to_owned());
        let begun = Instant::now();
        store.search(&search).await.expect("a search");
        filtered.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    println!(
        "{}",
        json!({"figure": "recall@10", "value": hits as f64 / (10 * QUERIES) as f64})
    );
    tell("dense search, 10 hits", plain);
    tell("dense search, a tenth by label", filtered);
    println!(
        "{}",
        json!({"figure": "memory of the store and its index", "mib": rss_mib().saturating_sub(before)})
    );
    let mut single = Vec::new();
    for number in 0..500 {
        let begun = Instant::now();
        store
            .add(&space, NewFact::of(&format!("v{} again", count + number)))
            .await
            .expect("a durable add");
        single.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    tell("durable add, one at a time", single);
}
