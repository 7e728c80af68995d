//! Embeddings over HTTP, as OpenAI and compatible servers give them: `POST BASE/embeddings`.

use std::time::Duration;

use agentkit::{BoxFuture, model::client};
use reqwest::{Url, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{EmbedError, Embedder};

/// Tries of one call.
const TRIES: u32 = 4;
/// The longest that a server may have one call wait before its next try.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Of an error's text, so much is told, in bytes.
const MAX_MESSAGE: usize = 300;
/// The most texts of one call, unless configured.
const BATCH: usize = 64;

/// Settings of an embedder over HTTP.
#[derive(Clone)]
pub struct Settings {
    /// The base URL, for instance `https://api.openai.com/v1`.
    pub base_url: String,
    /// The key, if the server wants one.
    pub api_key: Option<String>,
    /// The model.
    pub model: String,
    /// Numbers of a vector to ask for; `None` for the model's own.
    pub dimensions: Option<u32>,
    /// The most texts of one call; 64 unless set.
    pub batch: Option<usize>,
    /// The longest that one try may take.
    pub timeout: Duration,
}

/// An embedder over HTTP.
pub struct HttpEmbedder {
    settings: Settings,
    url: Url,
    fingerprint: String,
    http: reqwest::Client,
}

impl std::fmt::Debug for HttpEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpEmbedder")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl HttpEmbedder {
    /// Makes the client; nothing is sent.
    ///
    /// # Errors
    /// A base URL that is no HTTP URL, or a client that cannot be made.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let base = settings.base_url.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/embeddings"))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or("the base URL of the embedder is not an http or https URL")?;
        let http = client::http(&url).map_err(|error| error.without_url().to_string())?;
        // A server that moves keeps its vectors: only the model and the dimension are told apart.
        let fingerprint = match settings.dimensions {
            Some(dimensions) => format!("openai:{}:{dimensions}", settings.model),
            None => format!("openai:{}", settings.model),
        };
        Ok(Self {
            settings,
            url,
            fingerprint,
            http,
        })
    }

    async fn call(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut body = json!({
            "model": self.settings.model,
            "input": texts,
            "encoding_format": "float",
        });
        if let Some(dimensions) = self.settings.dimensions {
            body["dimensions"] = Value::from(dimensions);
        }
        let body = body.to_string();
        let mut tries = 0;
        loop {
            tries += 1;
            let tried = tokio::time::timeout(self.settings.timeout, self.once(&body)).await;
            let (message, wait) = match tried {
                Ok(Ok(bytes)) => return read(&bytes, texts.len()),
                Ok(Err(Tried::Last(error))) => return Err(error),
                Ok(Err(Tried::Again { message, wait })) => (message, wait),
                Err(_) => ("it did not answer in time".to_owned(), None),
            };
            if tries == TRIES {
                return Err(EmbedError::Away(message));
            }
            let backoff = Duration::from_millis(200 << tries) + jitter();
            match wait {
                Some(wait) if wait > MAX_RETRY_AFTER => return Err(EmbedError::Away(message)),
                Some(wait) => tokio::time::sleep(wait.max(backoff)).await,
                None => tokio::time::sleep(backoff).await,
            }
        }
    }

    async fn once(&self, body: &str) -> Result<Vec<u8>, Tried> {
        let mut request = self
            .http
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_owned());
        if let Some(key) = &self.settings.api_key {
            request = request.bearer_auth(key);
        }
        let again = |message: String| Tried::Again {
            message,
            wait: None,
        };
        let mut response = request
            .send()
            .await
            .map_err(|error| again(format!("it cannot be reached: {}", error.without_url())))?;
        let status = response.status().as_u16();
        let wait = response.headers().get(header::RETRY_AFTER);
        let wait = wait.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER => {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    let message = format!("its answer has more than {MAX_ANSWER} bytes");
                    return Err(Tried::Last(EmbedError::Refused(message)));
                }
                Ok(None) => break,
                Err(error) => {
                    return Err(again(format!(
                        "its answer broke off: {}",
                        error.without_url()
                    )));
                }
            }
        }
        if (200..300).contains(&status) {
            return Ok(bytes);
        }
        let message = format!("it answers {status}{}", self.reason(&bytes));
        Err(match status {
            408 | 409 | 429 | 500 | 502 | 503 | 504 | 529 => Tried::Again {
                message,
                wait: wait.map(Duration::from_secs),
            },
            400 | 413 | 422 => Tried::Last(EmbedError::Refused(message)),
            _ => Tried::Last(EmbedError::Away(message)),
        })
    }

    /// The server's words, without the key.
    fn reason(&self, body: &[u8]) -> String {
        let body = String::from_utf8_lossy(&body[..body.len().min(MAX_ANSWER / 64)]);
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        let known = [
            &value["error"]["message"],
            &value["error"],
            &value["detail"],
            &value["message"],
        ];
        let words = known
            .into_iter()
            .find_map(Value::as_str)
            .unwrap_or_default();
        let words = match &self.settings.api_key {
            Some(key) if !key.is_empty() => words.replace(key.as_str(), "[redacted]"),
            Some(_) | None => words.to_owned(),
        };
        match words.is_empty() {
            true => String::new(),
            false => format!(": {}", &words[..words.floor_char_boundary(MAX_MESSAGE)]),
        }
    }
}

/// A try without vectors.
enum Tried {
    /// Another try may help.
    Again {
        message: String,
        wait: Option<Duration>,
    },
    /// No other try helps.
    Last(EmbedError),
}

impl Embedder for HttpEmbedder {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn batch(&self) -> usize {
        self.settings.batch.unwrap_or(BATCH).max(1)
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(self.call(texts))
    }
}

/// Reads an answer: one vector for each text, at its `index`.
fn read(bytes: &[u8], texts: usize) -> Result<Vec<Vec<f32>>, EmbedError> {
    #[derive(Deserialize)]
    struct Answer {
        data: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        index: Option<usize>,
        embedding: Vec<f32>,
    }
    let away = |message: &str| EmbedError::Away(message.to_owned());
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|_| away("its answer is no list of embeddings"))?;
    if answer.data.len() != texts {
        return Err(away(
            "its answer has another number of vectors than there were texts",
        ));
    }
    let mut vectors: Vec<Vec<f32>> = vec![Vec::new(); texts];
    for (position, entry) in answer.data.into_iter().enumerate() {
        let slot = vectors.get_mut(entry.index.unwrap_or(position));
        let slot = slot.filter(|slot| slot.is_empty());
        *slot.ok_or_else(|| away("its answer has two vectors for one text"))? = entry.embedding;
    }
    Ok(vectors)
}

fn jitter() -> Duration {
    Duration::from_millis(rand::random_range(0..200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let read = |text: &str| read(text.as_bytes(), 2);
        let shuffled =
            r#"{"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]}"#;
        assert_eq!(read(shuffled).unwrap(), [vec![1.0], vec![2.0]]);
        let unnumbered = r#"{"data": [{"embedding": [1]}, {"embedding": [2]}]}"#;
        assert_eq!(read(unnumbered).unwrap(), [vec![1.0], vec![2.0]]);
        for wrong in [
            r#"{"data": [{"index": 0, "embedding": [1]}]}"#,
            r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}]}"#,
            r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 7, "embedding": [2]}]}"#,
            r#"{"data": [{"index": 0, "embedding": [null]}, {"index": 1, "embedding": [2]}]}"#,
            r#"{"error": "no"}"#,
            "<html>",
        ] {
            assert!(matches!(read(wrong), Err(EmbedError::Away(_))), "{wrong}");
        }
    }
}
