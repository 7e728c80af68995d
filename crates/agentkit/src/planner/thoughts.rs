//! Thoughts that a model writes into its answer, between tags such as `<think>`: they hold drafts of
//! calls and answers, which are neither.

use std::borrow::Cow;

/// The tags around thoughts.
const TAGS: [&str; 5] = ["think", "thinking", "thought", "reasoning", "reflection"];

/// A text with blanks in place of its thoughts, so that each other byte keeps its place. A thought without
/// an end takes the rest of the text. A text that begins within a thought, since its server kept the
/// opening tag, begins after the closing tag.
pub(super) fn blanked(text: &str) -> Cow<'_, str> {
    if !text.contains('<') {
        return Cow::Borrowed(text);
    }
    let mut blanked = String::new();
    let mut from = 0;
    while let Some((start, end)) = next(text, from) {
        blanked.push_str(&text[from..start]);
        let blank = |byte| if byte == b'\n' { '\n' } else { ' ' };
        blanked.extend(text[start..end].bytes().map(blank));
        from = end;
    }
    match from {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(blanked + &text[from..]),
    }
}

/// The next thought from a position on: its begin, and where the text goes on.
fn next(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let start = at + text[at..].find('<')?;
        at = start + 1;
        let Some(tag) = TAGS.iter().find(|tag| is_tag(&text[start..], "<", tag)) else {
            let closes = |tag: &&&str| is_tag(&text[start..], "</", tag);
            match TAGS.iter().find(closes) {
                Some(tag) if from == 0 => return Some((0, start + tag.len() + 3)),
                Some(_) | None => continue,
            }
        };
        let inner = start + tag.len() + 2;
        let mut rest = inner;
        while let Some(found) = text[rest..].find("</") {
            rest += found;
            if is_tag(&text[rest..], "</", tag) {
                return Some((start, rest + tag.len() + 3));
            }
            rest += 2;
        }
        return Some((start, text.len()));
    }
}

/// Whether a text begins with a tag, in whatever case.
fn is_tag(text: &str, open: &str, tag: &str) -> bool {
    let name = text.strip_prefix(open);
    let name = name.and_then(|rest| Some((rest.get(..tag.len())?, rest.get(tag.len()..)?)));
    name.is_some_and(|(name, rest)| name.eq_ignore_ascii_case(tag) && rest.starts_with('>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_blank_and_nothing_else_moves() {
        for (text, thoughts, rest) in [
            ("4", 0, "4"),
            ("a < b", 0, "a < b"),
            ("<think>ä b</think>4", 19, "4"),
            ("<THINK>a</Think> 4", 16, " 4"),
            ("drafts {1}</think>{2}", 18, "{2}"),
            ("<thinker>4</thinker>", 0, "<thinker>4</thinker>"),
            ("<reasoning>a<b></reasoning>4", 27, "4"),
            ("<think>never ends {1}", 21, ""),
        ] {
            let wanted = " ".repeat(thoughts) + rest;
            let blanked = blanked(text);
            assert_eq!(blanked, wanted, "{text}");
        }
        let between = "a</p><think>\n</think>c<think>d</think>";
        let wanted = format!("a</p>       \n{:8}c{:16}", "", "");
        assert_eq!(blanked(between), wanted);
    }

    proptest::proptest! {
        #[test]
        fn any_text_keeps_its_length(text in "(<|</|think|>|ä|\n|a|reasoning){0,40}") {
            let blanked = blanked(&text);
            proptest::prop_assert_eq!(blanked.len(), text.len());
            proptest::prop_assert!(!blanked.to_ascii_lowercase().contains("<think>"));
        }
    }
}
