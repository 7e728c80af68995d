//! Reads answers, whole or as the pieces of a stream, which have the same shape.

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    event::{FinishReason, Usage},
    model::client::{
        draft::{Call, Counted, Decode, Draft, Trouble, parse, reported},
        report::Report,
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
    Text(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<Counts>,
    model_version: Option<String>,
    response_id: Option<String>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Candidate {
    index: Option<u64>,
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    parts: Option<Vec<Box<RawValue>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    /// The words are a summary of the model's thoughts.
    thought: Option<bool>,
    function_call: Option<FunctionCall>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionCall {
    id: Option<String>,
    name: Option<String>,
    args: Option<Value>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Counts {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
}

impl Decode for Decoder {
    fn take(&mut self, document: &[u8], draft: &mut Draft<'_>) -> Result<(), Trouble> {
        let document: Document = parse(document)?;
        if let Some(error) = document.error {
            return Err(reported(&error));
        }
        draft.named(document.model_version, document.response_id);
        if let Some(counts) = document.usage_metadata {
            draft.usage = Some(counts.counted());
        }
        if let Some(reason) = document
            .prompt_feedback
            .and_then(|feedback| feedback.block_reason)
        {
            return Err(Report::blocked(&reason).into());
        }
        for candidate in document.candidates.unwrap_or_default() {
            if candidate.index.unwrap_or(0) != 0 {
                continue;
            }
            draft.answered = true;
            let content = candidate.content.unwrap_or_default();
            for part in content.parts.unwrap_or_default() {
                self.part(part, draft)?;
            }
            if let Some(reason) = candidate.finish_reason {
                if is_broken_off(&reason) && draft.has_said() {
                    return Err(Trouble::Malformed("was broken off by its provider"));
                }
                draft.complete = true;
                draft.finish = cut(&reason);
            }
        }
        Ok(())
    }

    fn finish(&mut self, draft: &mut Draft<'_>) {
        let parts: Vec<String> = self.parts.iter().map(Piece::json).collect();
        draft.parts = (!parts.is_empty()).then(|| format!("[{}]", parts.join(",")));
    }
}

impl Decoder {
    fn part(&mut self, raw: Box<RawValue>, draft: &mut Draft<'_>) -> Result<(), Trouble> {
        let part: Part = parse(raw.get().as_bytes())?;
        if let Some(call) = part.function_call {
            draft.calls.push(Call {
                index: None,
                id: call.id.unwrap_or_default(),
                name: call.name.unwrap_or_default(),
                arguments: call.args.map_or_else(String::new, |args| args.to_string()),
            });
        } else if let Some(text) = part.text.filter(|_| part.thought != Some(true)) {
            draft.say(&text);
            if part.other.is_empty() {
                self.say(text);
                return Ok(());
            }
        }
        self.parts.push(Piece::Raw(raw));
        Ok(())
    }

    /// Plain words that follow each other are one part.
    fn say(&mut self, text: String) {
        match self.parts.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            Some(Piece::Raw(_)) | None => self.parts.push(Piece::Text(text)),
        }
    }
}

impl Piece {
    fn json(&self) -> String {
        match self {
            Self::Raw(raw) => raw.get().to_owned(),
            Self::Text(text) => serde_json::json!({ "text": text }).to_string(),
        }
    }
}

/// Whether what came before is the beginning of an answer and no answer: the model went wrong, most
/// often in a call. Where nothing came before, the empty answer is told to the model.
fn is_broken_off(reason: &str) -> bool {
    matches!(
        reason,
        "OTHER"
            | "MALFORMED_FUNCTION_CALL"
            | "MALFORMED_RESPONSE"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
    )
}

/// Why an answer is not a whole one. Of a malformed call nothing is left but an empty answer, and
/// the model is told so.
fn cut(reason: &str) -> Option<FinishReason> {
    match reason {
        "MAX_TOKENS" => Some(FinishReason::Length),
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
        | "IMAGE_SAFETY" => Some(FinishReason::ContentFilter),
        _ => None,
    }
}

impl Counts {
    fn counted(self) -> Counted {
        let tokens = |count: Option<u64>| count.unwrap_or(0);
        let thoughts = tokens(self.thoughts_token_count);
        Counted {
            usage: Usage {
                input_tokens: tokens(self.prompt_token_count)
                    .saturating_add(tokens(self.tool_use_prompt_token_count)),
                output_tokens: tokens(self.candidates_token_count).saturating_add(thoughts),
                cached_tokens: tokens(self.cached_content_token_count),
                reasoning_tokens: thoughts,
                cost_micros: 0,
            },
            ..Counted::default()
        }
    }
}
