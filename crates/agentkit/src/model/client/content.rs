//! The text of an answer as it arrives, without the thoughts that some models write before it.

use super::text::{Joined, Text};
use crate::model::DeltaSink;

const BEGIN: &str = "<think>";
const END: &str = "</think>";

/// The text of an answer.
pub(super) struct Content<'a> {
    deltas: &'a dyn DeltaSink,
    all: Joined,
    /// Where the text after the thoughts begins.
    answer: usize,
    /// How much of the text the sink has.
    emitted: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The text so far may be the beginning of `<think>`.
    Begins,
    Thinks,
    Answers,
}

impl<'a> Content<'a> {
    pub(super) fn new(deltas: &'a dyn DeltaSink) -> Self {
        Self {
            deltas,
            all: Joined::default(),
            answer: 0,
            emitted: 0,
            stage: Stage::Begins,
        }
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, piece: &Text<'_>) {
        let before = self.all.text().len();
        self.all.push(piece);
        self.advance(before);
    }

    /// Ends the text. Thoughts without `</think>` count as the answer.
    pub(super) fn end(&mut self) {
        self.all.end();
        if self.stage != Stage::Answers {
            self.stage = Stage::Answers;
            self.skip_space();
            self.emitted = self.answer;
        }
        self.emit();
    }

    /// The text after the thoughts.
    pub(super) fn answer(&self) -> &str {
        &self.all.text()[self.answer..]
    }

    /// The whole text, thoughts included.
    pub(super) fn all(&self) -> &str {
        self.all.text()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Moves on after a piece; `before` is the length of the text without that piece.
    fn advance(&mut self, before: usize) {
        loop {
            let text = self.all.text();
            match self.stage {
                Stage::Begins => {
                    let rest = text[self.answer..].trim_start();
                    if rest.starts_with(BEGIN) {
                        self.stage = Stage::Thinks;
                    } else if BEGIN.starts_with(rest) {
                        return;
                    } else {
                        self.stage = Stage::Answers;
                        self.skip_space();
                        self.emitted = self.answer;
                    }
                }
                Stage::Thinks => {
                    // The end may have begun in an earlier piece.
                    let from = before.saturating_sub(END.len()).max(self.answer);
                    let from = text.floor_char_boundary(from);
                    let Some(end) = text[from..].find(END) else {
                        return;
                    };
                    self.answer = from + end + END.len();
                    self.stage = Stage::Begins;
                }
                Stage::Answers => return self.emit(),
            }
        }
    }

    /// The space between thoughts and answer belongs to neither.
    fn skip_space(&mut self) {
        if self.answer > 0 {
            let rest = &self.all.text()[self.answer..];
            self.answer += rest.len() - rest.trim_start().len();
        }
    }

    fn emit(&mut self) {
        let new = &self.all.text()[self.emitted..];
        if !new.is_empty() {
            self.deltas.text(new);
            self.emitted = self.all.text().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Sink(Mutex<String>);

    impl DeltaSink for Sink {
        fn text(&self, delta: &str) {
            self.0.lock().unwrap().push_str(delta);
        }
    }

    fn answer(text: &str, size: usize) -> (String, String) {
        let sink = Sink::default();
        let mut content = Content::new(&sink);
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            let piece: String = piece.iter().collect();
            content.push(&Text::from(&*piece));
        }
        content.end();
        assert_eq!(content.all(), text);
        let answer = content.answer().to_owned();
        drop(content);
        (answer, sink.0.into_inner().unwrap())
    }

    #[test]
    fn thoughts_before_an_answer_are_left_out_however_the_text_is_cut() {
        for (text, expected) in [
            ("Hello", "Hello"),
            ("", ""),
            (" \n", " \n"),
            ("<think>I look.</think>\n\nHello", "Hello"),
            (
                "\n<think>\nä😀 </thin </think>Hello </think>",
                "Hello </think>",
            ),
            ("<think>a</think> <think>b</think>c", "c"),
            ("<think>a</think>\n", ""),
            ("<think>without end", "<think>without end"),
            ("<think>a</think> <think>without end", "<think>without end"),
            ("<thin air", "<thin air"),
            ("<thi", "<thi"),
            ("A <think>quoted</think> tag", "A <think>quoted</think> tag"),
        ] {
            for size in [1, 2, 5, 1_000] {
                let (answer, emitted) = answer(text, size);
                assert_eq!(answer, expected, "{text} {size}");
                assert_eq!(emitted, expected, "{text} {size}");
            }
        }
    }
}
