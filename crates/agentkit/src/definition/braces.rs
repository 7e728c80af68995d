//! Whether the text of a Markdown file is a template. Prompts are full of braces that are none: `${{ secrets.X
//! }}` of a workflow, `style={{ a: b }}` of a page, `{% render %}` of another engine, `{# a comment #}`.

use super::instructions::{self, KNOWN};

/// The longest tag that is looked into, in bytes.
const MAX_TAG: usize = 2_000;

/// What a Markdown file's text is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Braces {
    /// It has none that a template would read.
    None,
    /// A template: a tag speaks of a name that templates know, or all of it can be written out.
    Template,
    /// Text, and why it is no template.
    Text(String),
}

/// What a text is, which begins on this line of its file.
pub(super) fn of(text: &str, first_line: usize) -> Braces {
    if !has_tags(text) {
        return Braces::None;
    }
    if speaks_of_known(text) {
        return Braces::Template;
    }
    match instructions::check(text, first_line) {
        Ok(()) if has_own_tags(text) => Braces::Template,
        // A template would leave comments out, or read what `$` or `=` gives another meaning.
        Ok(()) => Braces::Text("no tag stands by itself".to_owned()),
        Err(why) => Braces::Text(why),
    }
}

/// Whether a template would read anything in a text.
fn has_tags(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag))
}

/// Whether a text has a tag that is no comment and that no `$` or `=` stands before.
fn has_own_tags(text: &str) -> bool {
    let mut expressions = text.match_indices("{{");
    text.contains("{%") || expressions.any(|(at, _)| !text[..at].ends_with(['$', '=']))
}

/// Whether a tag has a name that templates know, not as a field of another or as a key.
fn speaks_of_known(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(['{']) {
        let (before, tag) = rest.split_at(at);
        rest = &tag[1..];
        let end = match tag.get(..2) {
            Some("{{") if !before.ends_with(['$', '=']) => "}}",
            Some("{%") => "%}",
            _ => continue,
        };
        let Some((inner, after)) = tag[2..].split_once(end) else {
            continue;
        };
        if inner.len() <= MAX_TAG && names(inner).any(|name| KNOWN.contains(&name)) {
            return true;
        }
        rest = after;
    }
    false
}

/// The names within a tag that stand for themselves.
fn names(tag: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + tag[at..].find(is_name)?;
            let end = tag[start..].find(|c| !is_name(c));
            let end = end.map_or(tag.len(), |length| start + length);
            at = end;
            let before = tag[..start].trim_end();
            let is_quoted = before.matches(['"', '\'']).count() % 2 == 1;
            let is_key = tag[end..].trim_start().starts_with(':');
            if !before.ends_with('.') && !is_quoted && !is_key {
                return Some(&tag[start..end]);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_speak_of_a_run_make_a_template_and_other_braces_do_not() {
        for text in [
            "Answer {{ goal }}.",
            "{{ input.customer }} {{ strange }}",
            "{% for tool in tools %}{{ tool }}{% endfor %}",
            "{% raw %}{{ x }}{% endraw %}",
            "{{ \"a\" | upper }}",
        ] {
            assert_eq!(of(text, 1), Braces::Template, "{text}");
        }
        for text in [
            "token: ${{ secrets.X }}",
            "${{ input.name }}",
            "${{ github.event.input.goal }}",
            "<div style={{ color: red }}>",
            "<div style={{ input: red }}>",
            "{{ task: 1 }}",
            "{% render 'card' %}",
            "{# a heading #}",
            "{{ variable }}",
            "{{",
            "{{ \"the goal\" }",
        ] {
            assert!(matches!(of(text, 1), Braces::Text(_)), "{text}");
        }
        assert_eq!(of("{a} { b } ${c}", 1), Braces::None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_without_a_panic(text in "(\\{|\\}|%|#|ä|goal|\"|'|:|\\.|\\$| |x){0,60}") {
            let _ = of(&text, 1);
        }
    }
}
