//! The compiled form of a schema: nodes, each with the checks of its keywords.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Number, Value};

use super::{patterns::Pattern, values::Same};

/// A subschema.
pub(super) type NodeId = u32;
/// A resource: the schema itself, or a part with an `$id`.
pub(super) type ResourceId = u32;

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) root: NodeId,
    pub(super) nodes: Vec<Node>,
    /// By resource: the dynamic anchors that it has, and where they are.
    pub(super) dynamic: Vec<Vec<(u32, NodeId)>>,
    /// How many names of dynamic anchors there are.
    pub(super) anchors: u32,
    /// Bytes of keeping the verdict.
    pub(super) bytes: usize,
}

/// A compiled subschema.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) checks: Vec<Check>,
    pub(super) resource: ResourceId,
    /// Whether its verdicts are kept: it can be asked about one value more than once.
    pub(super) keeps: bool,
}

/// One keyword, or those that belong together.
#[derive(Debug)]
pub(super) enum Check {
    /// The schema `false`.
    Never,
    Type(Types),
    Const(Value),
    Enum(Options),
    Minimum {
        limit: Number,
        exclusive: bool,
    },
    Maximum {
        limit: Number,
        exclusive: bool,
    },
    MinLength(u64),
    MaxLength(u64),
    Pattern(Arc<Pattern>),
    MinItems(u64),
    MaxItems(u64),
    UniqueItems,
    MinProperties(u64),
    MaxProperties(u64),
    Required(Vec<String>),
    DependentRequired(Vec<(String, Vec<String>)>),
    /// Keywords that look at one value and at no part of it: `format`, `multipleOf`, the content's
    /// encoding, and a reference to a draft's own schema.
    Leaf(Leaf),
    Ref(NodeId),
    DynamicRef {
        anchor: u32,
        otherwise: NodeId,
    },
    AllOf(Vec<NodeId>),
    AnyOf(Vec<NodeId>),
    OneOf(Vec<NodeId>),
    Not(NodeId),
    If {
        condition: NodeId,
        then: Option<NodeId>,
        otherwise: Option<NodeId>,
    },
    DependentSchemas(Vec<(String, NodeId)>),
    Properties(Properties),
    PropertyNames(NodeId),
    Items {
        first: Vec<NodeId>,
        rest: Option<NodeId>,
    },
    Contains {
        node: NodeId,
        least: u64,
        most: Option<u64>,
        marks: bool,
    },
    UnevaluatedProperties(NodeId),
    UnevaluatedItems(NodeId),
}

/// `properties`, `patternProperties` and `additionalProperties`.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub(super) named: HashMap<String, NodeId>,
    pub(super) patterns: Vec<(Arc<Pattern>, NodeId)>,
    pub(super) others: Option<NodeId>,
}

/// `enum`.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) values: Vec<Value>,
    /// The texts among them, if there are many.
    pub(super) texts: Option<HashSet<String>>,
    /// Cost of looking at all of them.
    pub(super) cost: u64,
}

impl Options {
    pub(super) fn has(&self, value: &Value) -> bool {
        match (&self.texts, value) {
            (Some(texts), Value::String(text)) => texts.contains(text),
            _ => self.values.iter().any(|option| Same(option) == Same(value)),
        }
    }
}

/// A keyword that another library checks.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) keyword: &'static str,
    /// The pattern's text, for messages.
    pub(super) says: Value,
    pub(super) check: LeafCheck,
}

#[derive(Debug)]
pub(super) enum LeafCheck {
    Validator(Arc<jsonschema::Validator>),
    /// The value has to be a schema itself.
    Schema(jsonschema::Draft),
}

/// A set of JSON types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    /// By the bit that stands for each.
    const NAMES: [&str; 7] = [
        "null", "boolean", "object", "array", "number", "string", "integer",
    ];
    const INTEGER: u8 = 1 << 6;
    const NUMBER: u8 = 1 << 4;
    /// Draft 4: `1.0` is no integer.
    const STRICT: u8 = 1 << 7;

    pub(super) fn add(&mut self, name: &str) -> bool {
        let bit = Self::NAMES.iter().position(|known| *known == name);
        if let Some(bit) = bit {
            self.0 |= 1 << bit;
        }
        bit.is_some()
    }

    pub(super) fn strict(mut self) -> Self {
        self.0 |= Self::STRICT;
        self
    }

    pub(super) fn takes(self, value: &Value) -> bool {
        let bit = match value {
            Value::Null => 1,
            Value::Bool(_) => 1 << 1,
            Value::Object(_) => 1 << 2,
            Value::Array(_) => 1 << 3,
            Value::String(_) => 1 << 5,
            Value::Number(number) => {
                let whole = match self.0 & Self::STRICT {
                    0 => super::values::is_whole(number),
                    _ => super::values::integer(number).is_some(),
                };
                return self.0 & Self::NUMBER != 0 || (self.0 & Self::INTEGER != 0 && whole);
            }
        };
        self.0 & bit != 0
    }

    /// Whether a number has to be whole.
    pub(super) fn wants_integer(self) -> bool {
        self.0 & Self::INTEGER != 0 && self.0 & Self::NUMBER == 0
    }

    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let has = move |(bit, _): &(usize, &&str)| self.0 & (1 << bit) != 0;
        Self::NAMES
            .iter()
            .enumerate()
            .filter(has)
            .map(|(_, name)| *name)
    }
}

impl Check {
    /// Nodes that the keyword asks about the same value.
    pub(super) fn in_place(&self, each: &mut dyn FnMut(NodeId)) {
        match self {
            Self::Ref(node) | Self::Not(node) => each(*node),
            Self::DynamicRef { otherwise, .. } => each(*otherwise),
            Self::AllOf(nodes) | Self::AnyOf(nodes) | Self::OneOf(nodes) => {
                nodes.iter().copied().for_each(each);
            }
            Self::If {
                condition,
                then,
                otherwise,
            } => {
                each(*condition);
                then.iter().chain(otherwise).copied().for_each(each);
            }
            Self::DependentSchemas(nodes) => nodes.iter().map(|(_, node)| *node).for_each(each),
            Self::Never
            | Self::Type(_)
            | Self::Const(_)
            | Self::Enum(_)
            | Self::Minimum { .. }
            | Self::Maximum { .. }
            | Self::MinLength(_)
            | Self::MaxLength(_)
            | Self::Pattern(_)
            | Self::MinItems(_)
            | Self::MaxItems(_)
            | Self::UniqueItems
            | Self::MinProperties(_)
            | Self::MaxProperties(_)
            | Self::Required(_)
            | Self::DependentRequired(_)
            | Self::Leaf(_)
            | Self::Properties(_)
            | Self::PropertyNames(_)
            | Self::Items { .. }
            | Self::Contains { .. }
            | Self::UnevaluatedProperties(_)
            | Self::UnevaluatedItems(_) => {}
        }
    }

    /// Nodes that the keyword asks about parts of the value.
    pub(super) fn below(&self, each: &mut dyn FnMut(NodeId)) {
        match self {
            Self::Properties(properties) => {
                properties.named.values().copied().for_each(&mut *each);
                properties
                    .patterns
                    .iter()
                    .map(|(_, node)| *node)
                    .for_each(&mut *each);
                properties.others.into_iter().for_each(each);
            }
            Self::Items { first, rest } => first.iter().chain(rest).copied().for_each(each),
            Self::PropertyNames(node)
            | Self::Contains { node, .. }
            | Self::UnevaluatedProperties(node)
            | Self::UnevaluatedItems(node) => each(*node),
            Self::Never
            | Self::Type(_)
            | Self::Const(_)
            | Self::Enum(_)
            | Self::Minimum { .. }
            | Self::Maximum { .. }
            | Self::MinLength(_)
            | Self::MaxLength(_)
            | Self::Pattern(_)
            | Self::MinItems(_)
            | Self::MaxItems(_)
            | Self::UniqueItems
            | Self::MinProperties(_)
            | Self::MaxProperties(_)
            | Self::Required(_)
            | Self::DependentRequired(_)
            | Self::Leaf(_)
            | Self::Ref(_)
            | Self::DynamicRef { .. }
            | Self::AllOf(_)
            | Self::AnyOf(_)
            | Self::OneOf(_)
            | Self::Not(_)
            | Self::If { .. }
            | Self::DependentSchemas(_) => {}
        }
    }

    /// Whether the keyword needs to know which parts of the value its siblings have looked at.
    pub(super) fn is_unevaluated(&self) -> bool {
        matches!(
            self,
            Self::UnevaluatedProperties(_) | Self::UnevaluatedItems(_)
        )
    }
}
