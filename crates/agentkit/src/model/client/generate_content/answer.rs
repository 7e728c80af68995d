//! Reads answers, whole or as the pieces of a stream, which have the same shape.

use serde_json::{Value, value::RawValue};

use crate::{
    event::Usage,
    model::client::{
        builder::{AnswerBuilder, Call, Counted, Decode, DecodeError},
        classify::{self, End},
        fields::{self, Fields},
        report::Report,
        text::Joined,
    },
};

/// Reads answers.
#[derive(Debug, Default)]
pub(in crate::model::client) struct Decoder {
    /// The parts of the answer, as they came.
    parts: Vec<Piece>,
}

/// A part, or plain words of several.
#[derive(Debug)]
enum Piece {
    Raw(Box<RawValue>),
    Text(Joined),
}

impl Decode for Decoder {
    fn take(
        &mut self,
        document: &Fields<'_>,
        builder: &mut AnswerBuilder<'_>,
    ) -> Result<(), DecodeError> {
        builder.named(document.word("modelVersion"), document.word("responseId"));
        if let Some(counts) = document.object("usageMetadata") {
            builder.usage = Some(counted(&counts));
        }
        let feedback = document.object("promptFeedback").unwrap_or_default();
        if let Some(reason) = feedback.word("blockReason") {
            return Err(Report::blocked(&reason).into());
        }
        for candidate in document.objects("candidates") {
            if candidate.number("index").unwrap_or(0) != 0 {
                continue;
            }
            builder.answered = true;
            let content = candidate.object("content").unwrap_or_default();
            for part in content.list("parts") {
                self.part(part, builder)?;
            }
            let reason = candidate.word("finishReason");
            match reason.as_deref().and_then(classify::end) {
                None => continue,
                // Of a malformed call nothing is left but an empty answer, and the model is told so.
                Some(End::Whole) => builder.finish = None,
                Some(End::BrokenOff) if !builder.has_content() => builder.finish = None,
                Some(End::BrokenOff) => {
                    return Err(DecodeError::Malformed("was broken off by its provider"));
                }
                Some(End::Cut(reason)) => builder.finish = Some(reason),
                Some(End::Failed) => return Err(Report::default().into()),
            }
            builder.complete = true;
        }
        Ok(())
    }

    fn parts(&mut self, _: &AnswerBuilder<'_>) -> Option<String> {
        let parts: Vec<String> = self.parts.iter().map(Piece::json).collect();
        (!parts.is_empty()).then(|| format!("[{}]", parts.join(",")))
    }
}

impl Decoder {
    fn part(&mut self, raw: &RawValue, builder: &mut AnswerBuilder<'_>) -> Result<(), DecodeError> {
        let Some(part) = Fields::of(raw) else {
            return Ok(());
        };
        if let Some(function) = part.object("functionCall") {
            if function.some("willContinue").is_some() || function.some("partialArgs").is_some() {
                return Err(DecodeError::Malformed(
                    "has the arguments of a call in pieces, which were not asked for",
                ));
            }
            let mut call = Call {
                id: function.word("id").unwrap_or_default().into_owned(),
                name: function.word("name").unwrap_or_default().into_owned(),
                ..Call::default()
            };
            if let Some(args) = function.json_text("args") {
                call.arguments.push(&args);
            }
            let read = |call: &Call| serde_json::from_str::<Value>(call.arguments.text()).ok();
            let is_again = |before: &Call| {
                (&before.id, &before.name) == (&call.id, &call.name) && read(before) == read(&call)
            };
            if !call.id.is_empty() && builder.calls.iter().any(is_again) {
                return Ok(());
            }
            builder.calls.push(call);
        } else if let Some(text) = part.text("text")
            && !part.is_set("thought")
        {
            builder.push_text(&text);
            if part.names().all(|name| matches!(name, "text" | "thought")) {
                // Plain words that follow each other are one part; none are no part.
                match self.parts.last_mut() {
                    Some(Piece::Text(before)) => before.push(&text),
                    Some(Piece::Raw(_)) | None if text.is_empty() => {}
                    Some(Piece::Raw(_)) | None => {
                        let mut joined = Joined::default();
                        joined.push(&text);
                        self.parts.push(Piece::Text(joined));
                    }
                }
                return Ok(());
            }
        }
        self.parts.push(Piece::Raw(fields::kept(raw)));
        Ok(())
    }
}

impl Piece {
    fn json(&self) -> String {
        match self {
            Self::Raw(raw) => raw.get().to_owned(),
            Self::Text(text) => serde_json::json!({ "text": text.clone().finish() }).to_string(),
        }
    }
}

fn counted(counts: &Fields<'_>) -> Counted {
    let tokens = |name: &str| counts.number(name).unwrap_or(0);
    let thoughts = tokens("thoughtsTokenCount");
    Counted {
        usage: Usage {
            input_tokens: tokens("promptTokenCount")
                .saturating_add(tokens("toolUsePromptTokenCount")),
            output_tokens: tokens("candidatesTokenCount").saturating_add(thoughts),
            cached_tokens: tokens("cachedContentTokenCount"),
            reasoning_tokens: thoughts,
            cost_micros: 0,
        },
        ..Counted::default()
    }
}
