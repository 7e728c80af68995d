//! An embedder for tests, and stores.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use agentkit::{BoxFuture, memory::long_term::Namespace, tool::digest_hex};
use agentkit_memory::{EmbedError, Embedded, Embedder, Options};

/// Vectors of words: each word has a direction, and words of one group share most of it.
pub(crate) struct Words {
    fingerprint: String,
    dimension: usize,
    /// Words that mean the same.
    groups: &'static [&'static [&'static str]],
    /// Whether it does not answer.
    pub(crate) away: AtomicBool,
    /// Texts that were embedded.
    pub(crate) texts: AtomicUsize,
    /// The most texts of a call; a larger call is refused.
    pub(crate) most: AtomicUsize,
    /// Instead of a text's vector.
    pub(crate) instead: Mutex<Option<Vec<f32>>>,
}

impl Words {
    pub(crate) fn new(fingerprint: &str, dimension: usize) -> Arc<Self> {
        Arc::new(Self {
            fingerprint: fingerprint.to_owned(),
            dimension,
            groups: &[
                &["car", "automobile"],
                &["doctor", "physician"],
                &["fast", "quick"],
            ],
            away: AtomicBool::new(false),
            texts: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
            instead: Mutex::default(),
        })
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.001; self.dimension];
        for word in text.to_lowercase().split_whitespace() {
            let group = self.groups.iter().find(|group| group.contains(&word));
            let word = group.map_or(word, |group| group[0]);
            let digest = digest_hex(word.as_bytes());
            for (at, pair) in digest.as_bytes().chunks(2).enumerate() {
                let sign = if pair[0] % 2 == 0 { 1.0 } else { -1.0 };
                vector[(at * 7 + usize::from(pair[1])) % self.dimension] += sign;
            }
        }
        vector
    }
}

impl Embedder for Words {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn batch(&self) -> usize {
        16
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move {
            if self.away.load(Ordering::Relaxed) {
                return Err(EmbedError::Away("it does not answer".to_owned()));
            }
            if texts.len() > self.most.load(Ordering::Relaxed)
                || texts.iter().any(|text| text.contains("poison"))
            {
                return Err(EmbedError::Refused("it answers 400".to_owned()));
            }
            self.texts.fetch_add(texts.len(), Ordering::Relaxed);
            let instead = self.instead.lock().unwrap().clone();
            Ok(texts
                .iter()
                .map(|text| instead.clone().unwrap_or_else(|| self.vector(text)))
                .collect())
        })
    }
}

pub(crate) fn clerk() -> Namespace {
    Namespace::of_agent("default", "clerk")
}

/// A store in a folder.
pub(crate) fn store(folder: &std::path::Path, embedder: Option<Arc<dyn Embedder>>) -> Embedded {
    let mut options = Options::new(folder.join("memory.db"));
    options.embedder = embedder;
    Embedded::new(options)
}
