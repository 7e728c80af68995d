//! Parses a model's answer in text form: calls, or the answer. Models keep to the form about as well as
//! people do, so the parser accepts many variations.
//!
//! A model also quotes: the page in a tool's result may hold a call in any of these forms, and a quotation
//! must not run. So a call counts where the form has a call, outside of quotations, fences and thoughts,
//! and only if no final answer follows; JSON counts as a call only where no other words stand beside the
//! JSON, or at the end of the answer, in a fence or in tags. The model is asked again about a call in any
//! other place.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    event::Failure,
    model::ResponseCall,
    planner::{lenient, output::UNREADABLE, thoughts},
    tool::ToolSpec,
    values,
};

/// The most calls that are taken from one answer.
const MAX_CALLS: usize = 16;

/// A parsed answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// The model requests these calls.
    Calls {
        /// The text up to the end of the last call: the model made up the text after that call.
        prose: String,
        /// The calls, without ids.
        calls: Vec<ResponseCall>,
    },
    /// The model gave the answer.
    Answer(String),
}

/// Parses an answer.
///
/// # Errors
/// The mistake, for the model: the text continues "Your last answer".
pub(crate) fn parse_reply(text: &str, tools: &[Arc<ToolSpec>]) -> Result<Parsed, Failure> {
    let whole = text.trim();
    if values::may_be_too_many(whole) {
        let most = values::MAX_VALUES;
        let what = format!("holds more than {most} values; answer with less");
        return Err(unreadable(what));
    }
    let blanked = thoughts::blanked(whole);
    let text = form(&blanked);
    // Blanks keep the place of each byte, so that the words are those of the model with its thoughts.
    let base = text.as_ptr() as usize - blanked.as_ptr() as usize;
    Ok(match read(text, tools)? {
        Parsed::Calls { prose, calls } => Parsed::Calls {
            prose: whole[..base + prose.len()].to_owned(),
            calls,
        },
        answer @ Parsed::Answer(_) => answer,
    })
}

/// The text within a fence that holds the form as a whole, or the text itself.
fn form(text: &str) -> &str {
    match lenient::last_fence(text) {
        Some((start, inner)) if text[..start].trim().is_empty() && !labels(inner).is_empty() => {
            inner
        }
        Some(_) | None => text,
    }
}

fn read(text: &str, tools: &[Arc<ToolSpec>]) -> Result<Parsed, Failure> {
    let lines = labels(text);
    let decides = |line: &&Line| matches!(line.label, Label::Action | Label::Answer);
    match lines.iter().find(decides) {
        Some(line) if line.label == Label::Answer => {
            return Ok(Parsed::Answer(text[line.content..].trim().to_owned()));
        }
        Some(_) => {
            return match answer_after(&lines) {
                Some(line) => Ok(Parsed::Answer(text[line.content..].trim().to_owned())),
                None => actions(text, &lines, tools),
            };
        }
        None => {}
    }
    if let Some(answer) = answer_within(text) {
        return Ok(Parsed::Answer(answer.to_owned()));
    }
    if let Some(said) = objects(text, tools)? {
        return Ok(said);
    }
    if lines.iter().any(|line| line.label != Label::Observation) {
        return Err(unreadable(
            "has neither an `Action:` with its `Action Input:` nor a `Final Answer:`; go on with one \
             of them",
        ));
    }
    // A model that does not keep to the form at all has answered.
    Ok(Parsed::Answer(text.trim().to_owned()))
}

/// The final answer after actions. After a result that the model made up, no final answer counts: the calls
/// before the result are meant, and the text behind is not.
fn answer_after(lines: &[Line]) -> Option<&Line> {
    let actions = lines.iter().skip_while(|line| line.label != Label::Action);
    let mut until = actions.take_while(|line| line.label != Label::Observation);
    until.find(|line| line.label == Label::Answer)
}

/// The final answer that follows other text on its line.
fn answer_within(text: &str) -> Option<&str> {
    const LABEL: &[u8] = b"final answer:";
    let mut windows = text.as_bytes().windows(LABEL.len());
    let start = windows.rposition(|window| window.eq_ignore_ascii_case(LABEL))?;
    let before = text[..start].trim_end_matches([' ', '*', '_']);
    let starts_a_sentence = before.ends_with(['.', '!', '?', '\n', '}', '`', '>']);
    let answer = text[start + LABEL.len()..].trim_start_matches('*').trim();
    (starts_a_sentence && !answer.is_empty()).then_some(answer)
}

fn unreadable(what: impl Into<String>) -> Failure {
    Failure::last(UNREADABLE, what)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Thought,
    Action,
    Input,
    Observation,
    Answer,
}

/// A line that begins with a label.
struct Line {
    label: Label,
    /// Where the line begins.
    start: usize,
    /// Where the words after the label begin.
    content: usize,
}

/// The lines with a label, in whatever case and with whatever marks of Markdown around the label, but
/// outside of quotations and fences.
fn labels(text: &str) -> Vec<Line> {
    const LABELS: [(&str, Label); 7] = [
        ("thought", Label::Thought),
        ("action input", Label::Input),
        ("action_input", Label::Input),
        ("action", Label::Action),
        ("observation", Label::Observation),
        ("final answer", Label::Answer),
        ("final_answer", Label::Answer),
    ];
    let mut found = Vec::new();
    let mut fences = Fences::of(text);
    let mut next = 0;
    for line in text.split_inclusive('\n') {
        let start = next;
        next += line.len();
        if fences.hide(line) || line.trim_start().starts_with('>') {
            continue;
        }
        let marks = |c: char| c.is_whitespace() || "*_#`-".contains(c);
        let prose = line.trim_start_matches(marks);
        for (name, label) in LABELS {
            let Some(head) = prose.get(..name.len()) else {
                continue;
            };
            if !head.eq_ignore_ascii_case(name) {
                continue;
            }
            // `Action 2:` and `**Action:**` are labels, `Action is needed:` is none.
            let after = &prose[name.len()..];
            let tail =
                after.trim_start_matches(|c: char| marks(c) && c != '\n' || c.is_ascii_digit());
            let Some(content) = tail.strip_prefix(':') else {
                continue;
            };
            let content = content.trim_start_matches('*');
            found.push(Line {
                label,
                start,
                content: start + line.len() - content.len(),
            });
            break;
        }
    }
    found
}

/// The lines of a text that are within fences. A fence without an end does not count.
struct Fences {
    left: usize,
    is_open: bool,
}

impl Fences {
    fn of(text: &str) -> Self {
        let mut all = Self {
            left: usize::MAX,
            is_open: false,
        };
        let marks = text.split_inclusive('\n').filter(|line| {
            let before = all.is_open;
            all.hide(line);
            before != all.is_open
        });
        Self {
            left: marks.count() / 2 * 2,
            is_open: false,
        }
    }

    /// Whether the next line is within a fence, or begins or ends a fence.
    fn hide(&mut self, line: &str) -> bool {
        let marks = line.matches("```").count();
        let begins = line.trim_start().starts_with("```");
        let turns = marks % 2 == 1 && (self.is_open || begins) && self.left > 0;
        if turns {
            self.is_open = !self.is_open;
            self.left -= 1;
        }
        self.is_open || turns
    }
}

/// The calls of the form `Action:` and `Action Input:`, up to the first result that the model made
/// up.
fn actions(text: &str, lines: &[Line], tools: &[Arc<ToolSpec>]) -> Result<Parsed, Failure> {
    let mut calls = Vec::new();
    let mut said = text.len();
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1);
        let end = next.map_or(text.len(), |next| next.start);
        match line.label {
            Label::Observation if !calls.is_empty() => break,
            Label::Action if calls.len() < MAX_CALLS => {
                let head = text[line.content..end].trim();
                let input = next.filter(|next| next.label == Label::Input).map(|next| {
                    let end = lines.get(index + 2).map_or(text.len(), |after| after.start);
                    (text[next.content..end].trim(), end)
                });
                match action(head, input.map(|(input, _)| input), tools)? {
                    Parsed::Calls { calls: more, .. } => calls.extend(more),
                    // An answer beside calls does not know their results yet.
                    Parsed::Answer(_) if !calls.is_empty() => break,
                    answer @ Parsed::Answer(_) => return Ok(answer),
                }
                said = input.map_or(end, |(_, end)| end);
            }
            Label::Thought | Label::Action | Label::Input | Label::Observation | Label::Answer => {}
        }
    }
    let prose = text[..said].trim_end().to_owned();
    Ok(Parsed::Calls { prose, calls })
}

/// One action: `name` with an input apart, `name({...})`, or an object with both.
fn action(head: &str, input: Option<&str>, tools: &[Arc<ToolSpec>]) -> Result<Parsed, Failure> {
    let head = lenient::unfenced(head);
    if head.starts_with('{')
        && let Some((object, _)) = lenient::value(head)
        && let Some(said) = object_call(&object, tools)
    {
        return Ok(said);
    }
    let marks = |c: char| c.is_whitespace() || "*_`\"'[]".contains(c);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let bare = head.trim_start_matches(marks);
    const FINAL: &str = "final answer";
    if let Some(start) = bare.get(..FINAL.len())
        && start.eq_ignore_ascii_case(FINAL)
    {
        let colon = |c: char| c == ':' || marks(c);
        let answer = input.unwrap_or_else(|| bare[FINAL.len()..].trim_start_matches(colon));
        return Ok(Parsed::Answer(answer.to_owned()));
    }
    let end = bare.find(|c| !is_name(c)).unwrap_or(bare.len());
    let (name, rest) = bare.split_at(end);
    if name.is_empty() {
        return Err(unreadable(
            "has an `Action:` without the name of a tool; name one, or give the `Final Answer:`",
        ));
    }
    let rest = rest.trim_start_matches(|c: char| marks(c) && c != '[');
    let within = rest
        .starts_with(['(', '{'])
        .then(|| rest.trim_start_matches('('));
    let arguments = match (input, within) {
        (Some(input), _) => arguments(input, name, tools),
        (None, Some(within)) => arguments(within.trim_end_matches(')'), name, tools),
        (None, None) => "{}".to_owned(),
    };
    Ok(calls(vec![(name.to_owned(), arguments)], ""))
}

/// Arguments as JSON text where the parser understands them, and unchanged where not: the gate then names
/// the mistake.
fn arguments(input: &str, name: &str, tools: &[Arc<ToolSpec>]) -> String {
    let inner = lenient::unfenced(input).trim().trim_matches('`');
    if inner.is_empty() || inner.eq_ignore_ascii_case("none") {
        return "{}".to_owned();
    }
    match lenient::value(inner) {
        Some((value @ Value::Object(_), _)) => value.to_string(),
        // `Action Input: Oslo` for a tool that takes one text.
        other => {
            let prose = match other {
                Some((Value::String(prose), rest)) if rest.trim().is_empty() => prose,
                _ => inner.to_owned(),
            };
            match only_text(name, tools) {
                Some(key) => {
                    Value::Object(Map::from_iter([(key, Value::String(prose))])).to_string()
                }
                None => inner.to_owned(),
            }
        }
    }
}

/// The only property of a tool's input, if the property is text.
fn only_text(name: &str, tools: &[Arc<ToolSpec>]) -> Option<String> {
    let spec = tools.iter().find(|spec| spec.name == name)?;
    let properties = spec.input_schema.get("properties")?.as_object()?;
    let required = spec.input_schema.get("required").and_then(Value::as_array);
    let key = match required.map(Vec::as_slice) {
        Some([only]) => only.as_str()?,
        Some([]) | None if properties.len() == 1 => properties.keys().next()?,
        _ => return None,
    };
    let is_text = properties.get(key)?.get("type")? == "string";
    is_text.then(|| key.to_owned())
}

/// Calls, or an answer, in JSON alone, or at the end in a fence or in tags such as `<tool_call>`.
///
/// # Errors
/// A call stands within other words, which may quote the call.
fn objects(text: &str, tools: &[Arc<ToolSpec>]) -> Result<Option<Parsed>, Failure> {
    let (mut found, mut end, mut quoted) = (Vec::new(), 0, None);
    let tail = tail(text);
    for (start, value, after) in lenient::containers(text) {
        let items = match value {
            Value::Array(items) => items,
            value => vec![value],
        };
        for item in items {
            match object_call(&item, tools) {
                Some(Parsed::Calls { calls, .. }) if is_call(&item, tools) => {
                    if start < tail {
                        quoted = calls.into_iter().next();
                        continue;
                    }
                    found.extend(calls.into_iter().map(|call| (call.name, call.arguments)));
                    end = after;
                }
                Some(answer @ Parsed::Answer(_)) if found.is_empty() && quoted.is_none() => {
                    return Ok(Some(answer));
                }
                Some(Parsed::Calls { .. } | Parsed::Answer(_)) | None => {}
            }
        }
    }
    if !found.is_empty() {
        found.truncate(MAX_CALLS);
        return Ok(Some(calls(found, &text[..end])));
    }
    match quoted {
        Some(call) => Err(unreadable(format!(
            "has a call of `{}` within other words, so it was not made; write it as an `Action:` with \
             its `Action Input:`, or give the `Final Answer:`",
            call.name
        ))),
        None => Ok(None),
    }
}

/// Where the part of a text begins in which JSON is a call: the whole text, if the text is only JSON in
/// tags or fences, or its end, if that is a fence or tags.
fn tail(text: &str) -> usize {
    if let Some((start, _)) = lenient::last_fence(text) {
        return start;
    }
    let mut tail = text.len();
    let values: Vec<(usize, usize)> = lenient::containers(text)
        .map(|(start, _, end)| (start, end))
        .collect();
    let mut is_tagged = false;
    for (start, end) in values.into_iter().rev() {
        // Between two values and after the last one there are tags alone, such as `</tool_call>`.
        if !is_tags(&text[end..tail]) {
            break;
        }
        is_tagged = opens_a_call(text[..start].trim_end());
        tail = start;
    }
    match is_tagged || is_tags(&text[..tail]) {
        true => tail,
        false => text.len(),
    }
}

/// Whether a text ends with a tag, at the beginning of a line, that announces a call.
fn opens_a_call(text: &str) -> bool {
    const CALL_LABELS: [&str; 4] = ["tool", "call", "function", "action"];
    let line = text.rsplit('\n').next().unwrap_or(text).trim();
    let tag = line.strip_prefix('<').and_then(|tag| tag.strip_suffix('>'));
    let announces = |tag: &str| CALL_LABELS.iter().any(|word| tag.contains(word));
    line == "[TOOL_CALLS]" || tag.is_some_and(|tag| !tag.contains(['<', '/']) && announces(tag))
}

/// Whether a text is only white space and tags.
fn is_tags(text: &str) -> bool {
    let mut rest = text.trim();
    while let Some(inner) = rest.strip_prefix('<') {
        let Some((tag, after)) = inner.split_once('>') else {
            return false;
        };
        if tag.contains(['<', '\n']) || tag.len() > 40 {
            return false;
        }
        rest = after.trim_start();
    }
    rest.is_empty() || rest == "[TOOL_CALLS]" || rest == ","
}

/// The meaning of an object that was announced as an action.
fn object_call(object: &Value, tools: &[Arc<ToolSpec>]) -> Option<Parsed> {
    if let Some(answer) = object.get("final_answer") {
        return Some(Parsed::Answer(prose(answer)));
    }
    let (name, input) = parts(object)?;
    let is_final = |end: &&str| name.eq_ignore_ascii_case(end);
    if ["final answer", "final_answer"].iter().any(is_final) {
        return Some(Parsed::Answer(input.map(prose).unwrap_or_default()));
    }
    let arguments = match input {
        None => "{}".to_owned(),
        Some(Value::String(text)) => arguments(text, name, tools),
        Some(value) => value.to_string(),
    };
    Some(calls(vec![(name.to_owned(), arguments)], ""))
}

/// Whether an object that was not announced is a call all the same: the object names a known tool, and has
/// arguments. An answer may be an object as well.
fn is_call(object: &Value, tools: &[Arc<ToolSpec>]) -> bool {
    let is_known = |name: &str| tools.iter().any(|spec| spec.name == name);
    parts(object).is_some_and(|(name, input)| is_known(name) && input.is_some())
}

/// Name and input in an object, by the names that models use for them.
fn parts(object: &Value) -> Option<(&str, Option<&Value>)> {
    const NAMES: [&str; 6] = [
        "action",
        "tool",
        "name",
        "tool_name",
        "function",
        "function_name",
    ];
    const INPUTS: [&str; 6] = [
        "action_input",
        "arguments",
        "args",
        "input",
        "parameters",
        "tool_input",
    ];
    // Some write `{"function": {"name": ..}}`.
    let nested = object.get("function").filter(|inner| inner.is_object());
    let object = nested.unwrap_or(object).as_object()?;
    let name = NAMES.iter().find_map(|key| object.get(*key)?.as_str())?;
    let input = INPUTS.iter().find_map(|key| object.get(*key));
    Some((name, input))
}

fn prose(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn calls(found: Vec<(String, String)>, prose: &str) -> Parsed {
    let calls = found.into_iter().map(|(name, arguments)| ResponseCall {
        provider_id: String::new(),
        name,
        arguments,
    });
    Parsed::Calls {
        prose: prose.trim_end().to_owned(),
        calls: calls.collect(),
    }
}

#[cfg(test)]
mod tests;
