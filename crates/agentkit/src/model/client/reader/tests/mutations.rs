//! Recorded streams of every surface, changed at random as servers, gateways and networks change them.
//!
//! What means nothing changes nothing: how bytes are cut, the order of fields, fields and events that
//! nobody knows, odd types where nobody looks, and events that come twice or in another order where
//! that can be told. A stream that is cut before the provider's own end is an error that is tried again.
//! Whatever else happens, nothing panics, no words come twice, and no call has arguments that were not
//! sent.
//!
//! Deltas without a number are not repeated here: `ha` twice may be `haha`.

use std::{collections::HashMap, fmt::Write as _, path::Path, sync::LazyLock};

use serde_json::{Value, json};

use super::*;
use crate::model::{Response, client::builder::DecodeError};

/// How many changed streams of each surface, unless `OPSPAWN_WIRE_MUTATIONS` says another number.
const ROUNDS: u64 = 5_000;

/// Small, and the same on every machine and in every release.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// A recorded stream.
struct Recorded {
    surface: ApiSurface,
    events: Vec<Event>,
    good: Shape,
}

#[derive(Debug, Clone)]
struct Event {
    /// Events with one number are one event that comes again, byte for byte.
    id: u64,
    name: Option<String>,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    Json(Value),
    /// `[DONE]`, or something else that is no JSON object.
    Text(String),
    Comment,
}

/// An answer, and of opaque parts what they say.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    response: Response,
    parts: Option<Value>,
}

fn shape(mut response: Response) -> Shape {
    let parts = response.parts.take();
    let json = parts.as_ref().and_then(|parts| parts["json"].as_str());
    for call in &mut response.calls {
        if let Ok(arguments) = serde_json::from_str::<Value>(&call.arguments) {
            call.arguments = arguments.to_string();
        }
    }
    Shape {
        parts: json.map(|json| serde_json::from_str(json).unwrap()),
        response,
    }
}

fn answer(surface: ApiSurface, bytes: &[u8], random: &mut Random) -> Result<Shape, DecodeError> {
    static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::new(Provider::OpenAi, "m"));
    let request = Request::default();
    let mut reader = Reader::new(surface.decoder(), &NoDeltas, &request);
    let mut rest = bytes;
    while !rest.is_empty() {
        let longest = *random.pick(&[1, 7, 64, 10_000]);
        let (piece, after) = rest.split_at((1 + random.below(longest)).min(rest.len()));
        reader.push(piece)?;
        rest = after;
    }
    Ok(shape(reader.finish()?.response(100, &CONFIG, None)))
}

fn recorded(surface: ApiSurface, folders: &[&str]) -> Vec<Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let mut all = Vec::new();
    for folder in folders {
        for case in ["good", "calls", "opaque", "malformed"] {
            let Ok(text) = std::fs::read_to_string(root.join(folder).join(format!("{case}.sse")))
            else {
                continue;
            };
            let mut events: Vec<Event> = text.split("\n\n").filter_map(parsed).collect();
            (1..).zip(&mut events).for_each(|(id, event)| event.id = id);
            let good = answer(surface, text.as_bytes(), &mut Random(1)).unwrap();
            all.push(Recorded {
                surface,
                events,
                good,
            });
        }
    }
    assert!(all.len() >= 3, "{folders:?} has too few streams");
    all
}

fn parsed(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut lines = block.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::trim))
    };
    let data = match field("data:") {
        Some(data) => match serde_json::from_str(data) {
            Ok(json @ Value::Object(_)) => Data::Json(json),
            Ok(_) | Err(_) => Data::Text(data.to_owned()),
        },
        None if block.trim().is_empty() => return None,
        None => Data::Comment,
    };
    Some(Event {
        id: 0,
        name: field("event:").map(str::to_owned),
        data,
    })
}

/// The events as bytes, and where the provider's own end is.
fn written(surface: ApiSurface, events: &[Event], random: &mut Random) -> (String, usize) {
    let mut text = String::new();
    let mut end = usize::MAX;
    let mut lines: HashMap<u64, String> = HashMap::new();
    if random.one_in(8) {
        text.push('\u{feff}');
    }
    let line_end = *random.pick(&["\n", "\n", "\r\n", "\r"]);
    for event in events {
        if random.one_in(6) {
            let comment = *random.pick(&[": OPENROUTER PROCESSING", ":", "id: 7", "retry: 5"]);
            text += &format!("{comment}{line_end}{line_end}");
        }
        if let Some(name) = &event.name {
            text += &format!("event: {name}{line_end}");
        }
        match &event.data {
            Data::Json(json) => {
                text += *random.pick(&["data: ", "data:"]);
                text += lines.entry(event.id).or_insert_with(|| {
                    let mut line = String::new();
                    write_json(json, random, &mut line);
                    line
                });
                if end == usize::MAX && is_end(surface, json) {
                    end = text.len();
                }
            }
            Data::Text(data) => text += &format!("data: {data}"),
            Data::Comment => text += ": ping",
        }
        text += &format!("{line_end}{line_end}");
    }
    (text, end)
}

/// JSON with its fields in any order, and its characters in any form.
fn write_json(value: &Value, random: &mut Random, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            for last in (1..fields.len()).rev() {
                fields.swap(last, random.below(last + 1));
            }
            text.push('{');
            for (index, (key, value)) in fields.into_iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let space = if random.one_in(9) { " " } else { "" };
                *text += &format!("{comma}{}:{space}", Value::from(key.as_str()));
                write_json(value, random, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_json(item, random, text);
            }
            text.push(']');
        }
        Value::String(string) if random.one_in(3) => {
            text.push('"');
            for unit in string.encode_utf16() {
                write!(text, "\\u{unit:04x}").unwrap();
            }
            text.push('"');
        }
        other => *text += &other.to_string(),
    }
}

/// Whether a document is the provider's own end.
fn is_end(surface: ApiSurface, json: &Value) -> bool {
    match surface {
        ApiSurface::Chat => json["choices"][0]["finish_reason"].is_string(),
        ApiSurface::Responses => json["type"] == "response.completed",
        ApiSurface::Messages => json["delta"]["stop_reason"].is_string(),
        ApiSurface::GenerateContent => json["candidates"][0]["finishReason"].is_string(),
    }
}

fn odd(random: &mut Random) -> Value {
    random
        .pick(&[
            json!(null),
            json!(7),
            json!(-1.5),
            json!("odd"),
            json!(""),
            json!(true),
            json!([]),
            json!({}),
            json!([null, {"a": []}]),
            json!({"error": "odd", "delta": {"text": "odd"}, "content": "odd"}),
        ])
        .clone()
}

/// Changes what means nothing.
fn mutate(surface: ApiSurface, events: &mut Vec<Event>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        match random.below(4) {
            0 => {
                let at = random.below(events.len());
                let before = events[at].id;
                if let Data::Json(json) = &mut events[at].data {
                    odd_field(surface, json, random);
                    let changed = Event {
                        id: random.next(),
                        ..events[at].clone()
                    };
                    // An event that comes again has the same field.
                    let same = events.iter_mut().filter(|event| event.id == before);
                    same.for_each(|event| *event = changed.clone());
                }
            }
            1 => {
                let at = random.below(events.len() + 1);
                let unknown = unknown(surface, random);
                events.insert(at, unknown);
            }
            2 => {
                let at = random.below(events.len());
                if is_told(surface, &events[at]) {
                    let again = events[at].clone();
                    let far = match surface {
                        ApiSurface::Responses => random.below(events.len() - at),
                        ApiSurface::Chat | ApiSurface::Messages | ApiSurface::GenerateContent => 0,
                    };
                    events.insert(at + 1 + far, again);
                }
            }
            _ => {
                let at = random.below(events.len());
                if at + 1 < events.len() && are_apart(surface, &events[at], &events[at + 1]) {
                    events.swap(at, at + 1);
                }
            }
        }
    }
}

/// A field that nobody looks at: a new one, or one with another type.
fn odd_field(surface: ApiSurface, json: &mut Value, random: &mut Random) {
    let (places, unused): (&[&str], &[&str]) = match surface {
        ApiSurface::Chat => (
            &["", "/choices/0", "/choices/0/delta"],
            &[
                "object",
                "created",
                "logprobs",
                "role",
                "system_fingerprint",
            ],
        ),
        ApiSurface::Responses => (
            &["", "/response", "/part"],
            &[
                "object",
                "created_at",
                "store",
                "parallel_tool_calls",
                "annotations",
            ],
        ),
        ApiSurface::Messages => (
            &["", "/message", "/delta"],
            &["role", "stop_sequence", "container", "service_tier"],
        ),
        ApiSurface::GenerateContent => (
            &["", "/candidates/0", "/usageMetadata"],
            &["role", "totalTokenCount", "safetyRatings", "avgLogprobs"],
        ),
    };
    let place: &&str = random.pick(places);
    let place = json.pointer_mut(place);
    let Some(Value::Object(map)) = place else {
        return;
    };
    let name = match random.one_in(2) {
        true => "odd".to_owned(),
        false => (*random.pick(unused)).to_owned(),
    };
    map.insert(name, odd(random));
}

fn unknown(surface: ApiSurface, random: &mut Random) -> Event {
    let data = match random.below(6) {
        0 => Data::Comment,
        1 => Data::Text((*random.pick(&["null", "7", "[]", "\"ping\"", "keep-alive"])).to_owned()),
        2 => Data::Json(json!({})),
        _ => {
            let mut json = match surface {
                ApiSurface::Chat => json!({"choices": [], "object": "new"}),
                ApiSurface::Responses => json!({"type": "response.new_event.delta"}),
                ApiSurface::Messages => json!({"type": "new_event"}),
                ApiSurface::GenerateContent => json!({"newEvent": true}),
            };
            json["odd"] = odd(random);
            if surface != ApiSurface::Chat && surface != ApiSurface::GenerateContent {
                for name in [
                    "delta",
                    "item",
                    "message",
                    "index",
                    "output_index",
                    "response",
                ] {
                    if random.one_in(3) {
                        json[name] = odd(random);
                    }
                }
            }
            Data::Json(json)
        }
    };
    Event {
        id: random.next(),
        name: None,
        data,
    }
}

/// Whether a reader can tell that an event comes again.
fn is_told(surface: ApiSurface, event: &Event) -> bool {
    let Data::Json(json) = &event.data else {
        return true;
    };
    match surface {
        ApiSurface::Responses => json["sequence_number"].is_number(),
        ApiSurface::Messages => json["type"] != "content_block_delta",
        ApiSurface::Chat => {
            let delta = &json["choices"][0]["delta"];
            let has_words = delta["content"]
                .as_str()
                .is_some_and(|text| !text.is_empty());
            let calls = delta["tool_calls"].as_array();
            let pieces = |call: &Value| {
                call["id"].is_null()
                    || call["function"]["arguments"].as_str().is_some_and(|text| {
                        !text.is_empty() && serde_json::from_str::<Value>(text).is_err()
                    })
            };
            let has_pieces = calls.is_some_and(|calls| calls.iter().any(pieces));
            let thoughts = ["reasoning_details", "reasoning_content"];
            !has_words && !has_pieces && thoughts.iter().all(|name| delta[*name].is_null())
        }
        ApiSurface::GenerateContent => is_end(surface, json),
    }
}

/// Whether two events mean the same in the other order.
fn are_apart(surface: ApiSurface, one: &Event, two: &Event) -> bool {
    let (Data::Json(one), Data::Json(two)) = (&one.data, &two.data) else {
        let is_nothing = |event: &Event| matches!(event.data, Data::Comment);
        return is_nothing(one) || is_nothing(two);
    };
    match surface {
        ApiSurface::Responses => {
            let of = |json: &Value| json["output_index"].as_u64();
            let is_idle = |json: &Value| {
                json["type"].as_str().is_some_and(|kind| {
                    kind.contains("content_part.added") || kind.ends_with("in_progress")
                })
            };
            let ends = [one, two].iter().any(|json| is_end(surface, json));
            !ends
                && (is_idle(one)
                    || is_idle(two)
                    || (of(one).is_some() && of(two).is_some() && of(one) != of(two)))
        }
        ApiSurface::Messages => {
            let of = |json: &Value| json["index"].as_u64();
            let is_idle = |json: &Value| json["type"] == "ping";
            let begins = [one, two]
                .iter()
                .any(|json| json["type"] == "message_start");
            let ends = [one, two].iter().any(|json| json["type"] == "message_stop");
            !begins
                && !ends
                && (is_idle(one)
                    || is_idle(two)
                    || (of(one).is_some() && of(two).is_some() && of(one) != of(two)))
        }
        ApiSurface::Chat => {
            let of = |json: &Value| json["choices"][0]["delta"]["tool_calls"][0]["index"].as_u64();
            let is_usage = |json: &Value| json["choices"] == json!([]);
            is_usage(one)
                || is_usage(two)
                || (of(one).is_some() && of(two).is_some() && of(one) != of(two))
        }
        ApiSurface::GenerateContent => false,
    }
}

/// Puts an odd value wherever a used field is.
fn break_fields(events: &mut [Event], random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(events.len());
        if let Data::Json(json) = &mut events[at].data {
            let mut place = json;
            while let Value::Object(_) | Value::Array(_) = place {
                let count = place
                    .as_object()
                    .map_or_else(|| place.as_array().map_or(0, Vec::len), |map| map.len());
                if count == 0 || random.one_in(3) {
                    break;
                }
                let nth = random.below(count);
                place = match place {
                    Value::Object(map) => map.values_mut().nth(nth).unwrap(),
                    Value::Array(list) => &mut list[nth],
                    _ => unreachable!("the loop ends at anything else"),
                };
            }
            *place = odd(random);
            events[at].id = random.next();
        }
    }
}

fn run(surface: ApiSurface, folders: &[&str]) {
    let recorded = recorded(surface, folders);
    let wanted = std::env::var("OPSPAWN_WIRE_MUTATIONS").ok();
    for seed in 0..wanted.map_or(ROUNDS, |wanted| wanted.parse().unwrap()) {
        let mut random = Random(seed);
        let stream = random.pick(&recorded);
        let mut events = stream.events.clone();
        mutate(surface, &mut events, &mut random);
        let (text, end) = written(surface, &events, &mut random);
        let told = |what: &str| format!("{surface:?}, seed {seed}: {what}\n{text}");
        match answer(stream.surface, text.as_bytes(), &mut random) {
            Ok(shape) => assert_eq!(shape, stream.good, "{}", told("another answer")),
            Err(decode_error) => panic!("{}", told(&format!("{decode_error:?}"))),
        }

        let cut = random.below(end.min(text.len()));
        match answer(surface, &text.as_bytes()[..cut], &mut random) {
            Err(DecodeError::Malformed(_)) => {}
            // An unknown event had words, which say the most of why the answer never came.
            Err(DecodeError::Reported(report)) if report.kind_inside().is_retryable() => {}
            other => panic!("{}", told(&format!("cut at {cut}: {other:?}"))),
        }

        break_fields(&mut events, &mut random);
        let (mut bytes, _) = written(surface, &events, &mut random);
        if let Ok(shape) = answer(surface, bytes.as_bytes(), &mut random) {
            let broken =
                |what: &str| format!("{surface:?}, seed {seed}: {what}: {shape:#?}\n{bytes}");
            let words = &stream.good.response.content;
            let twice = words.repeat(2);
            assert!(
                words.is_empty() || !shape.response.content.contains(&twice),
                "{}",
                broken("words twice")
            );
            for call in &shape.response.calls {
                let sent = stream.good.response.calls.iter();
                let is_sent = sent.clone().any(|sent| sent.arguments == call.arguments);
                let is_object = call.arguments.starts_with('{')
                    && serde_json::from_str::<Value>(&call.arguments).is_ok();
                let has_odd = call.arguments.contains("odd") || call.arguments == "{}";
                assert!(is_sent || !is_object || has_odd, "{}", broken("arguments"));
            }
        }
        // Bytes of any kind.
        let at = random.below(bytes.len());
        let at = bytes.floor_char_boundary(at);
        bytes.insert(
            at,
            *random.pick(&['"', '{', '}', '\\', '\n', '\0', ',', 'ä']),
        );
        let _ = answer(surface, bytes.as_bytes(), &mut random);
    }
}

#[test]
fn mutated_streams_of_chat() {
    run(ApiSurface::Chat, &["chat", "openrouter", "deepseek"]);
}

#[test]
fn mutated_streams_of_responses() {
    run(ApiSurface::Responses, &["responses"]);
}

#[test]
fn mutated_streams_of_messages() {
    run(ApiSurface::Messages, &["messages"]);
}

#[test]
fn mutated_streams_of_generate_content() {
    run(ApiSurface::GenerateContent, &["generate_content"]);
}
