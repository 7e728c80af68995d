//! Embedders: texts to vectors.

pub mod http;
#[cfg(feature = "model2vec")]
pub mod local;

use agentkit::BoxFuture;

/// Turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// Identity of the model and of every choice that changes its vectors. Vectors of two fingerprints are never
    /// compared.
    fn fingerprint(&self) -> &str;

    /// The most texts of one call.
    fn batch(&self) -> usize;

    /// One vector for each text, in the order of the texts.
    fn embed<'a>(&'a self, texts: &'a [String])
    -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>>;
}

/// Why there are no vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The embedder does not answer, or answers nonsense; a later try may help.
    #[error("{0}")]
    Away(String),
    /// The embedder refuses these texts: fewer texts, or shorter ones, may do.
    #[error("{0}")]
    Refused(String),
}
