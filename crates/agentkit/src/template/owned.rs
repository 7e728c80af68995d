//! Lists and maps of templates that were paid for, and pay whenever they are looked at as a whole.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    functions::{dict, range},
    value::{Enumerator, Kwargs, Object, ObjectRepr, ValueKind},
};

use super::scan::{NUMBER, OWN};

/// How deep lists and maps may nest: more than JSON that is read, and far less than the stack takes to
/// compare, show or drop them.
const MAX_DEPTH: usize = 200;

thread_local! {
    /// What looking at lists and maps may still take in the template that is written on this thread.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Writes a template within a budget for looking at lists and maps. Gives also whether that was used
/// up: a list that cannot be paid for looks empty, since those who look cannot hear of an error.
pub(super) fn within_budget<T>(budget: u64, write: impl FnOnce() -> T) -> (T, bool) {
    let outer = LEFT.replace(Some(budget));
    let written = write();
    let left = LEFT.replace(outer);
    (written, left == Some(0))
}

fn pay(weight: u64) -> bool {
    match LEFT.get() {
        None => true,
        Some(left) => {
            let left = left.saturating_sub(weight.max(1));
            LEFT.set(Some(left));
            left > 0
        }
    }
}

#[derive(Debug)]
struct List {
    items: Vec<Value>,
    size: Size,
}

#[derive(Debug)]
struct Map {
    members: BTreeMap<Value, Value>,
    size: Size,
}

/// What a list or map is, with all that is in it.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// What looking at it takes: one for each part, and one for each 64 bytes of text.
    weight: u64,
    depth: usize,
}

impl Size {
    fn of(value: &Value) -> Self {
        let list = value.downcast_object_ref::<List>().map(|list| list.size);
        let map = || value.downcast_object_ref::<Map>().map(|map| map.size);
        let text = value.as_str().map_or(0, |text| text.len() as u64 / 64);
        list.or_else(map).unwrap_or(Self {
            weight: 1 + text,
            depth: 0,
        })
    }

    /// The size of what holds these.
    fn around<'v>(parts: impl Iterator<Item = &'v Value>) -> Self {
        let none = Self {
            weight: 1,
            depth: 0,
        };
        let inner = parts.map(Self::of).fold(none, |one, two| Self {
            weight: one.weight.saturating_add(two.weight),
            depth: one.depth.max(two.depth),
        });
        Self {
            depth: inner.depth + 1,
            ..inner
        }
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match pay(self.size.weight) {
            true => Enumerator::Seq(self.items.len()),
            false => Enumerator::Empty,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.members.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match pay(self.size.weight) {
            true => Enumerator::Values(self.members.keys().cloned().collect()),
            false => Enumerator::Empty,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.members.len())
    }
}

/// A list of values that were paid for.
pub(crate) fn list(items: Vec<Value>) -> Value {
    let size = Size::around(items.iter());
    Value::from_object(List { items, size })
}

/// A map of values that were paid for.
pub(crate) fn map(members: BTreeMap<Value, Value>) -> Value {
    let parts = members.iter().flat_map(|(key, value)| [key, value]);
    let size = Size::around(parts);
    Value::from_object(Map { members, size })
}

/// A value that comes from outside of the template.
pub(crate) fn from_json(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Array(items) => list(items.iter().map(from_json).collect()),
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| (Value::from(key), from_json(value));
            map(members.iter().map(member).collect())
        }
        scalar => Value::from(minijinja::value::Serde(scalar)),
    }
}

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_function(OWN, |state: &State<'_, '_>, value: Value| {
        own(state, value, 0)
    });
    environment.add_function(NUMBER, number);
    environment.add_function(
        "range",
        |state: &State<'_, '_>, lower: isize, upper: Option<isize>, step: Option<isize>| {
            own(state, range(lower, upper, step)?, 0)
        },
    );
    environment.add_function(
        "dict",
        |state: &State<'_, '_>, value: Option<Value>, update: Kwargs| {
            own(state, dict(value, update)?, 0)
        },
    );
}

/// The value with every list and map in it copied and paid for.
pub(super) fn own(state: &State<'_, '_>, value: Value, depth: usize) -> Result<Value, Error> {
    let is_owned = value.downcast_object_ref::<List>().is_some()
        || value.downcast_object_ref::<Map>().is_some();
    if is_owned {
        return Ok(value);
    }
    let kind = value.kind();
    if !matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        state.consume_fuel(value.as_str().map_or(0, |text| text.len() as u64 / 64))?;
        return Ok(value);
    }
    // What is copied may be a chain of calls that nests without end.
    if depth == MAX_DEPTH {
        return Err(too_deep());
    }
    let copy = if kind == ValueKind::Map {
        let mut members = BTreeMap::new();
        for key in value.try_iter()? {
            state.consume_fuel(2)?;
            let member = own(state, value.get_item(&key)?, depth + 1)?;
            members.insert(own(state, key, depth + 1)?, member);
        }
        map(members)
    } else {
        let mut items = Vec::new();
        for item in value.try_iter()? {
            state.consume_fuel(1)?;
            items.push(own(state, item, depth + 1)?);
        }
        list(items)
    };
    // A list that is put into itself again and again is copied one level at a time.
    match Size::of(&copy).depth > MAX_DEPTH {
        true => Err(too_deep()),
        false => Ok(copy),
    }
}

fn too_deep() -> Error {
    let message = format!("lists and maps nest deeper than {MAX_DEPTH} levels");
    Error::new(ErrorKind::InvalidOperation, message)
}

/// A factor of a product. A list that is repeated is shared and costs nothing, until it is looked at.
fn number(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Err(Error::new(
            ErrorKind::InvalidOperation,
            "`*` multiplies numbers and repeats text, but repeats no list; loop over range(..)",
        )),
        _ => Ok(value),
    }
}
