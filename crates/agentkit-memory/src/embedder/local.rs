//! Embeddings of a model2vec model in a folder: `model.safetensors`, `tokenizer.json` and `config.json`.

use std::path::Path;

use agentkit::{BoxFuture, tool::digest_hex};
use model2vec_rs::model::StaticModel;

use super::{EmbedError, Embedder};

/// The largest weights, in bytes.
const MAX_WEIGHTS: u64 = 1 << 30;

/// An embedder in this process.
pub struct LocalEmbedder {
    model: std::sync::Arc<StaticModel>,
    fingerprint: String,
}

impl LocalEmbedder {
    /// Loads a model. Blocks.
    ///
    /// # Errors
    /// A folder without the model's files, or files that are no such model.
    pub fn load(folder: &Path) -> Result<Self, String> {
        let weights = folder.join("model.safetensors");
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", weights.display());
        let size = std::fs::metadata(&weights)
            .map_err(|error| told(&error))?
            .len();
        if size > MAX_WEIGHTS {
            return Err(told(&format!(
                "{size} bytes, and {MAX_WEIGHTS} are the most"
            )));
        }
        let bytes = std::fs::read(&weights).map_err(|error| told(&error))?;
        let part = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let (tokens, config) = (part("tokenizer.json")?, part("config.json")?);
        let digest =
            digest_hex(format!("{}{}", digest_hex(&bytes), digest_hex(&tokens)).as_bytes());
        let model = StaticModel::from_bytes(tokens, bytes, config, None)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self {
            model: std::sync::Arc::new(model),
            fingerprint: format!("model2vec:{}", &digest[..16]),
        })
    }
}

impl Embedder for LocalEmbedder {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn batch(&self) -> usize {
        64
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let (model, texts) = (std::sync::Arc::clone(&self.model), texts.to_vec());
        Box::pin(async move {
            let made = tokio::task::spawn_blocking(move || model.encode(&texts));
            made.await
                .map_err(|_| EmbedError::Refused("the model panicked".to_owned()))
        })
    }
}
