//! Regular expressions of schemas, in ECMA 262's dialect.
//!
//! A counted class is as large as its count: `\pL{100}` makes some 65,000 states from eight bytes.
//! So a pattern is weighed from its syntax tree before the pattern is built.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jsonschema_regex::{
    RepeatedClass, Search, search_form, split_leading_lookaheads, to_rust_regex,
};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Most states of all patterns of a schema together: about 150 bytes and a microsecond of
/// building each.
pub(super) const MAX_WEIGHT: u64 = 100_000;
/// The longest pattern, in bytes.
pub(super) const MAX_LENGTH: usize = 4_096;
/// How often a pattern with a look-around may try again in one text.
const BACKTRACKS: usize = 20_000;
/// Weight of a pattern that only a backtracking engine can match.
const LOOK_AROUND: u64 = 1_000;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) source: String,
    /// States: what a match costs for each byte at the most.
    pub(super) weight: u64,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    /// One class, counted.
    Class(Box<RepeatedClass>),
    /// All of these have to match, each in linear time.
    Linear(Vec<regex::Regex>),
    Backtracking(Box<fancy_regex::Regex>),
}

/// A pattern that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PatternError {
    /// The text is no regular expression of ECMA 262.
    Invalid,
    /// The pattern is too large.
    TooLarge,
}

impl Pattern {
    /// Compiles a pattern, unless it weighs more than is left.
    pub(super) fn compile(source: &str, left: u64) -> Result<Self, PatternError> {
        if source.len() > MAX_LENGTH {
            return Err(PatternError::TooLarge);
        }
        let translated = to_rust_regex(source).map_err(|()| PatternError::Invalid)?;
        let pattern = |weight, engine| Self {
            source: source.to_owned(),
            weight,
            engine,
        };
        let linear = match search_form(source, &translated) {
            Some(Search::RepeatedClass(class)) => {
                return Ok(pattern(1, Engine::Class(Box::new(class))));
            }
            Some(Search::Collapsed(collapsed)) => Some(vec![collapsed]),
            None if regex_syntax::parse(&translated).is_ok() => {
                Some(vec![translated.clone().into_owned()])
            }
            None => split_leading_lookaheads(source).and_then(|parts| {
                let part = |part: &String| Some(to_rust_regex(part).ok()?.into_owned());
                let parts: Option<Vec<String>> = parts.iter().map(part).collect();
                parts.filter(|parts| parts.iter().all(|part| regex_syntax::parse(part).is_ok()))
            }),
        };
        if let Some(parts) = linear {
            let weights = parts.iter().map(|part| {
                let hir = regex_syntax::parse(part).map_err(|_| PatternError::Invalid)?;
                Ok(states(&hir))
            });
            let mut weight = 0_u64;
            for part in weights {
                weight = weight.saturating_add(part?);
            }
            if weight > left {
                return Err(PatternError::TooLarge);
            }
            let regexes = parts.iter().map(|part| {
                let built = regex::RegexBuilder::new(part).size_limit(64 << 20).build();
                built.map_err(|_| PatternError::Invalid)
            });
            return Ok(pattern(
                weight,
                Engine::Linear(regexes.collect::<Result<_, _>>()?),
            ));
        }
        // Its parts are built by the linear engine: a count costs as much here.
        let weight = LOOK_AROUND.saturating_add(around(&translated));
        if weight > left {
            return Err(PatternError::TooLarge);
        }
        let built = fancy_regex::RegexBuilder::new(&translated)
            .backtrack_limit(BACKTRACKS)
            .delegate_size_limit(1 << 20)
            .build();
        let regex = built.map_err(|_| PatternError::Invalid)?;
        Ok(pattern(weight, Engine::Backtracking(Box::new(regex))))
    }

    /// The most steps that a match in a text of so many bytes takes.
    pub(super) fn cost(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64 + 1;
        match &self.engine {
            Engine::Class(_) => 1 + bytes / 16,
            Engine::Linear(_) => (bytes.saturating_mul(self.weight) / 4).max(1),
            // Each try may look at all of the text.
            Engine::Backtracking(_) => 100 + bytes.min(BACKTRACKS as u64).saturating_mul(bytes) / 4,
        }
    }

    /// Whether it matches somewhere; none if the engine gave up.
    pub(super) fn matches(&self, text: &str) -> Option<bool> {
        match &self.engine {
            Engine::Class(class) => Some(class.is_match(text)),
            Engine::Linear(regexes) => {
                // The engine panics on some patterns: https://github.com/rust-lang/regex/issues/1344
                let all = || regexes.iter().all(|regex| regex.is_match(text));
                catch_unwind(AssertUnwindSafe(all)).ok()
            }
            Engine::Backtracking(regex) => {
                let found = catch_unwind(AssertUnwindSafe(|| regex.is_match(text)));
                found.ok()?.ok()
            }
        }
    }
}

/// About the states that a linear engine makes of a pattern.
fn states(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        // Each range takes one to four sequences of one to four byte ranges.
        HirKind::Class(Class::Unicode(class)) => class.iter().fold(1, |sum, range| {
            sum + if range.end() < '\u{80}' { 1 } else { 4 }
        }),
        HirKind::Class(Class::Bytes(class)) => 1 + class.iter().count() as u64,
        HirKind::Capture(capture) => states(&capture.sub).saturating_add(2),
        HirKind::Repetition(repetition) => {
            let copies = repetition.max.unwrap_or(repetition.min.saturating_add(1));
            states(&repetition.sub).saturating_mul(u64::from(copies).max(1))
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(states).fold(1, u64::saturating_add)
        }
    }
}

/// A bound on the growth by counts of a pattern that has no syntax tree: each counts for the whole of it.
fn around(pattern: &str) -> u64 {
    let counts = pattern.split('{').skip(1).filter_map(|rest| {
        let inner = rest.split('}').next()?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        inner.split(',').filter_map(number).max()
    });
    // A property such as `\p{L}` is a class of several hundred ranges.
    let classes = 1 + pattern.matches("\\p").count() as u64 * 2_000;
    let copies = counts.fold(1, |product: u64, count| {
        product.saturating_mul(count.max(1))
    });
    copies.saturating_mul(pattern.len() as u64 + classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::compile(pattern, MAX_WEIGHT).unwrap();
        pattern.matches(text).unwrap()
    }

    #[test]
    fn patterns_match_as_in_ecma_262() {
        assert!(matches("^a+$", "aaa"));
        assert!(!matches("^a+$", "aaab"));
        assert!(matches("b", "abc"));
        assert!(!matches(r"^\w$", "ä"));
        assert!(matches(r"^\p{L}{1,50}$", "Müller"));
        assert!(!matches(r"^\p{L}{1,5}$", "Müller"));
        assert!(matches(r"^(?=.*[A-Z])(?=.*\d).{8,}$", "Passw0rdX"));
        assert!(!matches(r"^(?=.*[A-Z])(?=.*\d).{8,}$", "password"));
        assert!(matches(r"^(?!foo)\w+$", "bar"));
        assert!(!matches(r"^(?!foo)\w+$", "foobar"));
    }

    #[test]
    fn a_pattern_is_weighed_before_it_is_built() {
        let refused = |pattern: &str| Pattern::compile(pattern, MAX_WEIGHT).unwrap_err();
        assert_eq!(refused(r"\pL{100}N"), PatternError::TooLarge);
        assert_eq!(refused(r"((a{100}){100}){100}"), PatternError::TooLarge);
        assert_eq!(refused(r"^(?!x)(a{1000}){1000}$"), PatternError::TooLarge);
        assert_eq!(refused(r"(?!x)\p{L}{500}"), PatternError::TooLarge);
        assert_eq!(refused(&"a".repeat(5_000)), PatternError::TooLarge);
        assert_eq!(refused("["), PatternError::Invalid);
        // Counts whose product is beyond 64 bits: a sum that wrapped around weighed next to nothing.
        let nested = (0..8).fold("a".to_owned(), |inner, _| format!("({inner}){{1000}}"));
        assert_eq!(refused(&nested), PatternError::TooLarge);
        let side_by_side = format!("{}|{}", &nested[1..nested.len() - 7], &nested);
        assert_eq!(refused(&side_by_side), PatternError::TooLarge);
        let around = format!("a(?!x){}", "a{1000}".repeat(8));
        assert_eq!(refused(&around), PatternError::TooLarge);
        // What is matched by counting weighs nothing.
        assert_eq!(Pattern::compile(r"^\p{L}{1,500}$", 1).unwrap().weight, 1);
    }

    #[test]
    fn a_match_that_would_go_back_for_ever_gives_up() {
        let pattern = Pattern::compile(r"^(a|aa)+(?=b)\1c$", MAX_WEIGHT).unwrap();
        assert_eq!(pattern.matches(&format!("{}b", "a".repeat(60))), None);
        assert_eq!(pattern.matches("aaaa"), Some(false));
    }
}
