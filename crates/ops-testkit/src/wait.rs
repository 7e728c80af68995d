use std::time::{Duration, Instant};

use anyhow::bail;

/// Asks every 10 ms until the answer is there, at most for `timeout`.
///
/// The error names what was waited for. Each question is given the time that is left, so one that
/// hangs ends with the wait.
pub async fn wait_until<T, F, Fut>(what: &str, timeout: Duration, mut ask: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + timeout;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if let Ok(Some(answer)) = tokio::time::timeout(left, ask()).await {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("waited {timeout:?} in vain: {what}");
        }
        tokio::time::sleep(Duration::from_millis(10).min(left)).await;
    }
}
