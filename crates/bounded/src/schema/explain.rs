//! The mistakes of a value that is not valid, in a few sentences.
//!
//! Only branches that do not hold are looked at again, and of alternatives only one that is meant:
//! the errors of all alternatives of a recursive schema are exponentially many, and no reader wants
//! them.

mod sentences;

use std::fmt;

use serde_json::Value;

use self::sentences::{cut, of_types, sentences, unknown};
use super::{
    document::escaped,
    evaluate::{Evaluator, Scope, Spent},
    keyword::{Check, NodeId, Properties, Types},
    values::Shown,
};

/// Places that are named at the most.
const MAX_LOCATIONS: usize = 5;
/// Steps that naming them may take, beyond those that are left.
pub(super) const STEPS: u64 = 200_000;
/// Options of an `enum`, and names of properties, that a message lists.
const LISTED: usize = 8;
/// How far references are followed to see which alternative is meant.
const FOLLOWED: u32 = 8;
/// Bytes of a pointer, a name or a pattern that a message shows.
const EXCERPT_LIMIT: usize = 200;

/// The mistakes of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violations {
    /// The first of them; never empty.
    pub list: Vec<Violation>,
    /// Whether there are more.
    pub more: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON Pointer (RFC 6901); empty for the value itself.
    pub at: String,
    /// The mistake there.
    pub message: String,
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        if self.more {
            f.write_str("; and more")?;
        }
        Ok(())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => f.write_str(&self.message),
            at => write!(f, "at `{}`: {}", cut(at), self.message),
        }
    }
}

/// The mistakes that were found so far.
struct Found {
    list: Vec<Violation>,
    at: String,
    more: bool,
}

impl Found {
    fn push(&mut self, message: String) {
        if self.list.len() == MAX_LOCATIONS {
            self.more = true;
            return;
        }
        let violation = Violation {
            at: self.at.clone(),
            message,
        };
        if !self.list.contains(&violation) {
            self.list.push(violation);
        }
    }

    /// Goes one part down.
    fn within<T>(&mut self, part: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.at.len();
        self.at.push('/');
        self.at.push_str(&escaped(part));
        let answer = look(self);
        self.at.truncate(length);
        answer
    }
}

type Done = Result<(), Spent>;

impl<'c> Evaluator<'c> {
    /// The mistakes of a value that does not hold.
    pub(super) fn violations(&mut self, node: NodeId, value: &Value, scope: Scope) -> Violations {
        self.allow(STEPS);
        let mut found = Found {
            list: Vec::new(),
            at: String::new(),
            more: false,
        };
        // What was found before the steps were used up is worth telling.
        let whole = self.explain(node, value, scope, &mut found).is_ok();
        let Found { mut list, more, .. } = found;
        if list.is_empty() {
            let message = format!("{} does not match the schema", Shown(value));
            list.push(Violation {
                at: String::new(),
                message,
            });
        }
        Violations {
            list,
            more: more || !whole,
        }
    }

    fn explain(&mut self, id: NodeId, value: &Value, scope: Scope, found: &mut Found) -> Done {
        let scope = self.enter(scope, id);
        for check in &self.node(id).checks {
            if found.more {
                return Ok(());
            }
            if !self.passes(id, check, value, scope)? {
                self.deeper(|this| this.explain_check(id, check, value, scope, found))?;
            }
        }
        Ok(())
    }

    fn explain_check(
        &mut self,
        id: NodeId,
        check: &'c Check,
        value: &Value,
        scope: Scope,
        found: &mut Found,
    ) -> Done {
        match check {
            Check::Ref(node) => self.explain(*node, value, scope, found),
            Check::DynamicRef { anchor, otherwise } => {
                let node = self.dynamic(scope, *anchor, *otherwise);
                self.explain(node, value, scope, found)
            }
            Check::AllOf(nodes) => self.explain_all(nodes, value, scope, found),
            Check::AnyOf(nodes) => self.alternatives("anyOf", nodes, value, scope, found),
            Check::OneOf(nodes) => match self.count(nodes, value, scope, 2)? {
                0 => self.alternatives("oneOf", nodes, value, scope, found),
                _ => {
                    found.push(format!(
                        "{} is valid under more than one of the schemas listed in the `oneOf` keyword",
                        Shown(value)
                    ));
                    Ok(())
                }
            },
            Check::If {
                condition,
                then,
                otherwise,
            } => {
                let branch = match self.holds(*condition, value, scope)? {
                    true => then,
                    false => otherwise,
                };
                branch.map_or(Ok(()), |node| self.explain(node, value, scope, found))
            }
            Check::DependentSchemas(nodes) => {
                for (name, node) in nodes {
                    if value.get(name).is_some() && !self.holds(*node, value, scope)? {
                        self.explain(*node, value, scope, found)?;
                    }
                }
                Ok(())
            }
            Check::Properties(properties) => {
                self.explain_properties(properties, value, scope, found)
            }
            Check::PropertyNames(node) => {
                for name in value.as_object().into_iter().flat_map(|map| map.keys()) {
                    if !found.more && !self.name(*node, name, scope)? {
                        found.push(format!("\"{}\" is not allowed as a name", cut(name)));
                    }
                }
                Ok(())
            }
            Check::Items { first, rest } => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    if let Some(node) = first.get(index).copied().or(*rest) {
                        self.explain_part(node, &index.to_string(), item, scope, found)?;
                    }
                }
                Ok(())
            }
            Check::Contains {
                node, least, most, ..
            } => {
                let count = self.containing(*node, value, scope, u64::MAX)?.unwrap_or(0);
                let wanted = match most {
                    Some(most) => format!("{least} to {most}"),
                    None => format!("at least {least}"),
                };
                found.push(format!(
                    "{count} items match the `contains` keyword, which wants {wanted}"
                ));
                Ok(())
            }
            Check::UnevaluatedProperties(node) => {
                let Value::Object(map) = value else {
                    return Ok(());
                };
                let seen = self.seen(id, check, value, scope)?;
                let others = map.iter().filter(|(name, _)| !seen.has_name(name));
                self.explain_others(*node, others, &[], scope, found)
            }
            Check::UnevaluatedItems(node) => {
                let seen = self.seen(id, check, value, scope)?;
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    if !seen.has_item(index) {
                        self.explain_part(*node, &index.to_string(), item, scope, found)?;
                    }
                }
                Ok(())
            }
            assertion => {
                sentences(assertion, value, found);
                Ok(())
            }
        }
    }

    fn explain_all(
        &mut self,
        nodes: &[NodeId],
        value: &Value,
        scope: Scope,
        found: &mut Found,
    ) -> Done {
        for node in nodes {
            if !found.more && !self.holds(*node, value, scope)? {
                self.explain(*node, value, scope, found)?;
            }
        }
        Ok(())
    }

    fn explain_part(
        &mut self,
        node: NodeId,
        part: &str,
        value: &Value,
        scope: Scope,
        found: &mut Found,
    ) -> Done {
        if found.more || self.holds(node, value, scope)? {
            return Ok(());
        }
        found.within(part, |found| self.explain(node, value, scope, found))
    }

    fn explain_properties(
        &mut self,
        properties: &'c Properties,
        value: &Value,
        scope: Scope,
        found: &mut Found,
    ) -> Done {
        let Value::Object(map) = value else {
            return Ok(());
        };
        let mut others = Vec::new();
        for (name, member) in map {
            let mut nodes = Vec::new();
            self.of_property(properties, name, &mut nodes)?;
            let is_other = properties.others.is_some_and(|other| nodes == [other])
                && !properties.named.contains_key(name);
            if is_other {
                others.push((name, member));
                continue;
            }
            for node in nodes {
                self.explain_part(node, name, member, scope, found)?;
            }
        }
        let Some(node) = properties.others else {
            return Ok(());
        };
        let mut known: Vec<&str> = properties.named.keys().map(String::as_str).collect();
        known.sort_unstable();
        self.explain_others(node, others.into_iter(), &known, scope, found)
    }

    /// Properties that no keyword speaks of by name.
    fn explain_others<'v>(
        &mut self,
        node: NodeId,
        others: impl Iterator<Item = (&'v String, &'v Value)>,
        known: &[&str],
        scope: Scope,
        found: &mut Found,
    ) -> Done {
        let never = matches!(self.node(node).checks.as_slice(), [Check::Never]);
        for (name, member) in others {
            if found.more {
                break;
            }
            if never {
                found.push(unknown(name, known));
            } else {
                self.explain_part(node, name, member, scope, found)?;
            }
        }
        Ok(())
    }

    /// Why none of some alternatives holds: what is wrong under the one that is meant, if that can be
    /// seen without asking further down.
    fn alternatives(
        &mut self,
        keyword: &str,
        nodes: &[NodeId],
        value: &Value,
        scope: Scope,
        found: &mut Found,
    ) -> Done {
        let mut meant = Vec::new();
        for node in nodes {
            if self.fits(*node, value, scope, FOLLOWED)? {
                meant.push(*node);
            }
        }
        if let [node] = meant.as_slice() {
            return self.explain(*node, value, scope, found);
        }
        let heads: Option<Vec<Types>> = nodes
            .iter()
            .map(|node| self.head(*node, FOLLOWED))
            .collect();
        found.push(match heads {
            Some(heads) if !heads.iter().any(|types| types.takes(value)) => {
                let mut names: Vec<&str> = heads.iter().flat_map(|types| types.names()).collect();
                names.sort_unstable();
                names.dedup();
                of_types(value, &names)
            }
            _ => format!(
                "{} is not valid under any of the schemas listed in the `{keyword}` keyword",
                Shown(value)
            ),
        });
        Ok(())
    }

    /// Whether a value is of the kind that a subschema is about: its type, the names that it must
    /// have, and those of its parts that can have one of a few values only.
    pub(super) fn fits(
        &mut self,
        id: NodeId,
        value: &Value,
        scope: Scope,
        followed: u32,
    ) -> Result<bool, Spent> {
        if followed == 0 {
            return Ok(true);
        }
        let scope = self.enter(scope, id);
        for check in &self.node(id).checks {
            let fits = match check {
                Check::Ref(node) => self.fits(*node, value, scope, followed - 1)?,
                Check::AllOf(nodes) => {
                    let mut all = true;
                    for node in nodes.iter().take(LISTED) {
                        all = all && self.fits(*node, value, scope, followed - 1)?;
                    }
                    all
                }
                Check::Properties(properties) => self.fits_names(properties, value)?,
                other => self.asserts(other, value)?.unwrap_or(true),
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fits_names(&mut self, properties: &'c Properties, value: &Value) -> Result<bool, Spent> {
        for (name, member) in value.as_object().into_iter().flatten() {
            self.spend(1)?;
            let Some(node) = properties.named.get(name) else {
                continue;
            };
            for check in &self.node(*node).checks {
                let is_told_apart = matches!(check, Check::Const(_) | Check::Enum(_));
                if is_told_apart && self.asserts(check, member)? == Some(false) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The types that a subschema names.
    fn head(&self, id: NodeId, followed: u32) -> Option<Types> {
        let checks = &self.node(id).checks;
        let own = checks.iter().find_map(|check| match check {
            Check::Type(types) => Some(*types),
            _ => None,
        });
        let followed = followed.checked_sub(1)?;
        let referred = || {
            checks.iter().find_map(|check| match check {
                Check::Ref(node) => self.head(*node, followed),
                _ => None,
            })
        };
        own.or_else(referred)
    }
}
