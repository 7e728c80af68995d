//! Secrets, which memory refuses.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use crate::model::cassette::KEYS;

/// Forms of secrets beside the keys of providers: a name for people, and a pattern.
const FORMS: &[(&str, &str)] = &[
    (
        "a private key",
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
    ),
    ("an AWS key", r"\bA(?:SIA|GPA|IDA|ROA)[A-Z0-9]{16}\b"),
    ("a GitHub token", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    (
        "a GitLab token",
        r"\bgl(?:pat|dt|rt|ptt|cbt|soat|ft|imt)-[A-Za-z0-9_-]{16,}",
    ),
    (
        "a Slack webhook",
        r"hooks\.slack\.com/services/T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]+",
    ),
    ("a Slack token", r"\bxapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+"),
    (
        "a Stripe key",
        r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",
    ),
    ("a Stripe webhook secret", r"\bwhsec_[A-Za-z0-9+/=]{20,}"),
    (
        "a token of a package registry",
        r"\b(?:npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,}|cio[A-Za-z0-9]{32}|rubygems_[a-f0-9]{40,}|dckr_pat_[A-Za-z0-9_-]{20,})",
    ),
    (
        "a SendGrid key",
        r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    ),
    ("a Twilio key", r"\bSK[0-9a-f]{32}\b"),
    ("a Mailgun key", r"\bkey-[0-9a-f]{32}\b"),
    ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
    ("a Replicate token", r"\br8_[A-Za-z0-9]{30,}"),
    ("a Groq key", r"\bgsk_[A-Za-z0-9]{30,}"),
    ("a DigitalOcean token", r"\bdo[opr]_v1_[a-f0-9]{40,}"),
    ("a Shopify token", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    (
        "a Square token",
        r"\b(?:EAAA[A-Za-z0-9_-]{50,}|sq0(?:atp|csp)-[A-Za-z0-9_-]{20,})",
    ),
    (
        "a Google token",
        r"\b(?:ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}|1//[A-Za-z0-9_-]{30,})",
    ),
    ("a Telegram token", r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,}"),
    (
        "a Discord token",
        r"\b[MNO][A-Za-z0-9_-]{23,}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}",
    ),
    (
        "an Azure key",
        r"(?i)\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=[A-Za-z0-9+/=%&-]{20,}",
    ),
    ("a Vault token", r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    ("a Databricks token", r"\bdapi[a-f0-9]{32}\b"),
    ("a New Relic key", r"\bNRAK-[A-Z0-9]{27}\b"),
    ("a Linear key", r"\blin_api_[A-Za-z0-9]{30,}"),
    (
        "a Notion token",
        r"\b(?:secret_[A-Za-z0-9]{40,}|ntn_[A-Za-z0-9]{40,})",
    ),
    ("a Grafana token", r"\bgl(?:sa|c)_[A-Za-z0-9_=-]{20,}"),
    ("an age key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    (
        "a web token",
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    ),
    (
        "an authorization header",
        r"(?i)\bauthorization\s*:\s*(?:basic|bearer|token|digest)\s+\S{8,}",
    ),
    (
        "a URL with a password",
        r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]+:[^\s/@]{3,}@[^\s/]+",
    ),
    (
        "a password",
        r#"(?i)\b(?:password|passwd|passphrase|pwd|kennwort|passwort|contraseña)\b["']?\s*(?:[:=]|is\b|ist\b|es\b)\s*["']?[^\s"',;]*[0-9!@#$%^&*?_+~-][^\s"',;]*"#,
    ),
    (
        "a secret",
        r#"(?i)\b(?:secret|token|api[_ -]?key|access[_ -]?key|client[_ -]?secret)\b["']?\s*(?:[:=]|is\b)\s*["']?[A-Za-z0-9+/_=.~-]{12,}"#,
    ),
    (
        "a one-time code",
        r"(?i)\b(?:otp|one-time (?:code|password)|verification code|tan)\b\s*(?:[:=]|is\b)?\s*\d{4,8}\b",
    ),
    (
        "a number of a card",
        r"\b(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|3[47]\d{2}|6011)[ -]?\d{4}[ -]?\d{4}[ -]?\d{3,4}\b",
    ),
];

static SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = KEYS
        .iter()
        .copied()
        .chain(FORMS.iter().map(|(_, pattern)| *pattern));
    RegexSet::new(patterns).expect("the patterns are constants that a test compiles")
});

static CARD: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = FORMS.iter().find(|(name, _)| *name == CARD_NAME);
    Regex::new(pattern.map_or("$^", |(_, pattern)| pattern)).expect("the pattern is a constant")
});
const CARD_NAME: &str = "a number of a card";

/// The form of the first secret in a text, by name; `None` if the text holds none.
#[must_use]
pub fn secret(text: &str) -> Option<&'static str> {
    let found = SET.matches(text);
    found.into_iter().find_map(|index| {
        let Some(index) = index.checked_sub(KEYS.len()) else {
            return Some("a key");
        };
        let (name, _) = FORMS[index];
        // Any long number has the digits of a card: its check digit tells a card's apart.
        (name != CARD_NAME || CARD.find_iter(text).any(|found| is_card(found.as_str())))
            .then_some(name)
    })
}

/// The check of Luhn (ISO/IEC 7812).
fn is_card(number: &str) -> bool {
    let digits = number.chars().rev().filter_map(|c| c.to_digit(10));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => digit,
            _ if digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}
