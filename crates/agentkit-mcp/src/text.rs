//! Text of servers as people and models see it: capped, and without characters that hide.

use agentkit_tools::command::spellings;
use serde_json::Value;

/// The text without characters that cannot be seen or that turn its direction, each written out as
/// `\u{…}`, and at most so many bytes of it.
#[must_use]
pub fn shown(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        if shown.len() >= most {
            shown.push('…');
            break;
        }
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() || hides(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Whether the text has characters that a person does not see.
#[must_use]
pub fn has_hidden(text: &str) -> bool {
    text.chars().any(hides)
}

/// Characters of zero width, of direction (bidi), of tags (U+E0000 to U+E007F), and variation selectors
/// that carry data.
fn hides(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        | '\u{e0100}'..='\u{e01ef}')
}

/// Bytes of the shortest secret and of the shortest credential that are looked for.
const MIN_SECRET: usize = 8;
const MIN_CREDENTIAL: usize = 6;

/// Replaces secrets in text.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Spellings of all secrets, for logs and errors.
    all: Vec<String>,
    /// Spellings of credentials, for whatever a server answers.
    credentials: Vec<String>,
}

impl Redactor {
    /// Short values are no secrets: replacing `1` or `true` everywhere would only hide what happened.
    pub fn new(
        secrets: impl IntoIterator<Item = String>,
        credentials: impl IntoIterator<Item = String>,
    ) -> Self {
        let credentials: Vec<String> = credentials.into_iter().collect();
        let secrets = secrets.into_iter().filter(|one| one.len() >= MIN_SECRET);
        let credentials = credentials.into_iter();
        let credentials = credentials.filter(|one| one.len() >= MIN_CREDENTIAL);
        let all = secrets.chain(credentials.clone());
        Self {
            all: spelled(all),
            credentials: spelled(credentials),
        }
    }

    /// The text without the secrets.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        replaced(&self.all, text.to_owned())
    }

    /// The value without credentials, in its texts and its keys.
    #[must_use]
    pub fn clean_value(&self, value: Value) -> Value {
        if self.credentials.is_empty() || units::mutant!("agentkit-mcp.credentials_shown") {
            return value;
        }
        match value {
            Value::String(text) => Value::String(replaced(&self.credentials, text)),
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.clean_value(item))
                .collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, value)| (replaced(&self.credentials, key), self.clean_value(value)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }
}

/// Every spelling of secrets, the longest first.
fn spelled(secrets: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = secrets
        .into_iter()
        .flat_map(|one| spellings(&one))
        .collect();
    all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    all.dedup();
    all
}

fn replaced(secrets: &[String], mut text: String) -> String {
    for secret in secrets {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "[secret]");
        }
    }
    text
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.all.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// ahead-tools, "Also".
    #[test]
    fn hidden_characters_are_written_out() {
        assert_eq!(
            shown("a\u{200b}b\u{202e}c\u{e0041}", 100),
            "a\\u{200b}b\\u{202e}c\\u{e0041}"
        );
        assert_eq!(shown("grüße 日本\n", 100), "grüße 日本\n");
        assert_eq!(shown("\u{1b}[31m", 100), "\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(50), 10), format!("{}…", "x".repeat(10)));
        assert!(has_hidden("a\u{e0041}") && !has_hidden("plain ✓"));
    }

    #[test]
    fn secrets_are_replaced_the_longest_first() {
        let secrets = ["hunter22", "hunter22-long", "x"].map(str::to_owned);
        let redactor = Redactor::new(secrets, []);
        assert_eq!(
            redactor.clean("a hunter22-long hunter22 x"),
            "a [secret] [secret] x"
        );
        assert!(!format!("{redactor:?}").contains("hunter"));
    }

    #[test]
    fn answers_are_cleaned_of_credentials_alone() {
        let redactor = Redactor::new(["/home/me".to_owned()], ["s3cr\"t/value".to_owned()]);
        let answer = json!({
            "s3cr\"t/value": ["/home/me/a", "{\"a\":\"s3cr\\\"t/value\"}", 7],
            "url": "https://h/?q=s3cr%22t%2Fvalue",
        });
        let expected = json!({
            "[secret]": ["/home/me/a", "{\"a\":\"[secret]\"}", 7],
            "url": "https://h/?q=[secret]",
        });
        assert_eq!(redactor.clean_value(answer), expected);
        assert_eq!(
            redactor.clean("in /home/me: s3cr\"t/value"),
            "in [secret]: [secret]"
        );
    }
}
