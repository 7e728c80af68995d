//! Texts: the form in which equal facts are equal, their tokens, and chunks of long texts.

use std::collections::BTreeSet;

/// The longest chunk, in bytes.
pub const CHUNK: usize = 1_600;
/// How much of a chunk the next one repeats, in bytes.
const OVERLAP: usize = 160;

/// Words that say little alone.
const COMMON: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "been", "but", "by", "can", "could", "did", "do", "does", "for", "from", "had", "has", "have",
    "he", "her", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "me",
    "my", "of", "on", "or", "our", "she", "should", "so", "some", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "us", "was", "we", "were",
    "what", "when", "where", "which", "who", "whom", "why", "will", "with", "would", "you", "your",
];

/// The text by which two facts are equal: in lower case, white space joined, without the marks at its end. Numbers,
/// names, symbols and negations stay, so facts that differ in one of them differ.
#[must_use]
pub fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        normal.extend(word.chars().flat_map(char::to_lowercase));
    }
    let end = normal.trim_end_matches(['.', '!', ' ']).len();
    normal.truncate(end);
    normal
}

/// SHA-256 of the normal form, in hex.
#[must_use]
pub fn digest(text: &str) -> String {
    crate::tool::digest_hex(normal(text).as_bytes())
}

/// Words and numbers of a text in lower case: runs of letters and digits.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Whether a word says little alone.
#[must_use]
pub fn is_common(word: &str) -> bool {
    COMMON.binary_search(&word).is_ok()
}

/// The words that carry the meaning of a text: no common words, and negations stay.
#[must_use]
pub fn telling(text: &str) -> BTreeSet<String> {
    words(text).filter(|word| !is_common(word)).collect()
}

/// A word without the endings that English gives it, so that `listen` and `listens` are alike. Words with digits stay.
#[must_use]
pub fn stem(word: &str) -> &str {
    const SHORTEST: usize = 3;
    if word.chars().any(char::is_numeric) {
        return word;
    }
    let endings = ["ings", "ing", "ed", "es", "s"].into_iter();
    let mut stems = endings.filter_map(|ending| word.strip_suffix(ending));
    stems.find(|stem| stem.len() >= SHORTEST).unwrap_or(word)
}

/// A text in chunks of at most [`CHUNK`] bytes, which overlap a little and end at white space where there is any.
#[must_use]
pub fn chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut start = 0;
    while text.len() - start > CHUNK {
        let most = text.floor_char_boundary(start + CHUNK);
        let half = text.floor_char_boundary(start + CHUNK / 2);
        let space = text[half..most].rfind(char::is_whitespace);
        let end = space.map_or(most, |at| half + at);
        chunks.push(&text[start..end]);
        let back = text.floor_char_boundary(end - OVERLAP);
        let word = text[back..end].find(char::is_whitespace);
        start = word.map_or(back, |at| back + at);
    }
    chunks.push(&text[start..]);
    chunks
}
