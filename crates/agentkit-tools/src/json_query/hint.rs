//! The right form for words of other dialects of JSONPath.

/// Words that stand between two values elsewhere, and how RFC 9535 says it.
const FOREIGN_OPERATORS: [(&[&str], &str); 10] = [
    (
        &["in", "nin", "anyof", "noneof", "subsetof"],
        "there is no `in`: write `@.id == \"a\" || @.id == \"b\"`, or `match(@.id, \"a|b\")`",
    ),
    (
        &["is", "isnull", "exists"],
        "write `@.a == null` or `@.a != null`; `@.a` alone tests whether it is there",
    ),
    (&["size", "sizeof", "len"], "write `length(@.tags) == 2`"),
    (&["empty"], "write `length(@.a) == 0`"),
    (
        &["mod", "div", "plus", "minus", "times"],
        "filters know no arithmetic: compare the values as they are",
    ),
    (
        &["contains", "contain", "includes", "include", "has"],
        "write `search(@.name, \"text\")` for a text, `@.tags[?@ == \"x\"]` for an array",
    ),
    (
        &[
            "like",
            "ilike",
            "matches",
            "match",
            "regex",
            "startswith",
            "starts",
            "endswith",
            "ends",
        ],
        "write `search(@.name, \"^a\")`, or `match(@.name, \"a.*\")` for the whole text",
    ),
    (&["and"], "write `&&`"),
    (&["or"], "write `||`"),
    (
        &["not", "between"],
        "write `!(...)` for not, and two comparisons with `&&` for between",
    ),
];

/// The probable meaning at that byte.
pub(super) fn of(text: &str, at: usize) -> Option<String> {
    let in_filter = is_in_filter(&text[..at]);
    let rest = text[at..].trim_start();
    let spaced = rest.len() < text[at..].len() || text[..at].ends_with(char::is_whitespace);
    let before = text[..at].trim_end();
    let word: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphabetic() || *c == '_')
        .collect::<String>()
        .to_ascii_lowercase();
    let said = |hint: &str| Some(hint.to_owned());
    if at == 0 {
        return said("write `$.items[0].name`, or `$..name` for every `name`");
    }
    if rest.is_empty() {
        return (spaced && !in_filter).then(|| "white space may not stand at the end".to_owned());
    }
    if in_filter
        && let Some((_, hint)) = FOREIGN_OPERATORS
            .iter()
            .find(|(words, _)| words.contains(&&*word))
    {
        return said(hint);
    }
    for (operator, hint) in [
        (
            "=~",
            "write `search(@.name, \"pattern\")`, and `(?i)` in it to ignore case",
        ),
        ("===", "write `==`"),
        ("<>", "write `!=`"),
        ("=", "write `==`"),
        ("&", "write `&&`"),
        ("|", "write `||`"),
        (
            "%",
            "filters know no arithmetic: compare the values as they are",
        ),
        (
            "+",
            "filters know no arithmetic: compare the values as they are",
        ),
        (
            "/",
            "filters know no arithmetic; a pattern is a text: `search(@.name, \"pattern\")`",
        ),
        ("~", "names cannot be selected"),
        (
            "^",
            "a parent cannot be selected: test the child in a filter, `$.items[?@.a.b == 1]`",
        ),
    ] {
        if rest.starts_with(operator) {
            return said(hint);
        }
    }
    if rest.starts_with('>') && before.ends_with('<') {
        return said("write `!=`");
    }
    if rest.starts_with('-') || rest.starts_with('*') {
        if in_filter && (spaced || rest.starts_with('*')) {
            return said("filters know no arithmetic: compare the values as they are");
        }
        return said("a name with other characters than letters, digits and _ is written ['a-b']");
    }
    if before.ends_with('.') {
        return match rest.chars().next() {
            Some('0'..='9') => {
                said("an element of an array is [0]; a name that begins with a digit is ['0']")
            }
            Some('[') => said("leave out the `.` before `[`"),
            Some(_) if spaced => said("no white space may stand after `.`"),
            _ => said("a name with other characters than letters, digits and _ is written ['a b']"),
        };
    }
    if before.ends_with(['[', ',']) {
        return match rest.chars().next() {
            Some('(') => {
                said("there are no scripts: the last element is [-1], a filter [?@.a == 1]")
            }
            Some('@') => said("a filter begins with `?`: [?@.a == 1]"),
            Some(_) if !word.is_empty() => said(&format!("write a name in quotes: ['{word}']")),
            _ => None,
        };
    }
    if rest.starts_with('(') {
        return said(
            "functions stand in filters alone, `$.items[?length(@.tags) > 1]`; how many values a \
             query finds is `count` of the result",
        );
    }
    if rest.starts_with(['"', '\'']) {
        return said("a name in quotes stands in brackets: ['a b']");
    }
    if in_filter {
        return None;
    }
    if spaced && !word.is_empty() {
        return said("a name with white space is written ['foo bar']");
    }
    said("a name with other characters than letters, digits and _ is written ['a b']")
}

/// Whether a filter is open at the end of this beginning of a query, names in quotes aside.
fn is_in_filter(before: &str) -> bool {
    before.rfind('?').is_some_and(|start| {
        let filter = &before[start..];
        filter.matches(']').count() <= filter.matches('[').count()
    })
}
