//! Definitions of MCP servers: which definitions are given to agents, and which definitions are held.
//!
//! A server is trusted with its first list: a person wrote the server into the file of servers. From then on a
//! definition that changes or is new is held until a person approves it. A renamed definition is new under its
//! new name.

use std::collections::BTreeMap;

use crate::{
    actor::Actor,
    mcp::{McpApproval, McpKey, McpListed, McpPin, McpPins},
    time::Micros,
};

/// An approval that cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpRefused {
    /// The server lists no such definition.
    #[error("the server lists no {} `{}`", .0.kind, .0.name)]
    NotListed(McpKey),
    /// The definition was changed again since the person saw it.
    #[error("the {} `{}` has changed again since you saw it; look at it once more", .0.kind, .0.name)]
    Changed(McpKey),
}

/// The record of a server after a list; `None` if the list changes no part of the record.
#[must_use]
pub fn listed(before: Option<&McpPins>, listed: &McpListed, now: Micros) -> Option<McpPins> {
    let is_first = before.is_none();
    let known: BTreeMap<&McpKey, &McpPin> = before.map(McpPins::by_key).unwrap_or_default();
    let mut pins: BTreeMap<McpKey, McpPin> = BTreeMap::new();
    for (key, definition) in &listed.definitions {
        let pin = match known.get(key) {
            None => McpPin {
                key: key.clone(),
                approved: is_first.then(|| definition.clone()),
                listed: (!is_first).then(|| definition.clone()),
                is_gone: false,
                changed_at: now,
                approved_at: is_first.then_some(now),
                approved_by: None,
            },
            Some(pin) => {
                let is_approved = pin
                    .approved
                    .as_ref()
                    .is_some_and(|approved| approved.digest == definition.digest);
                let is_approved =
                    is_approved || units::mutant!("ops-core.changed_tool_is_approved");
                let current = pin.current().map(|current| &current.digest);
                McpPin {
                    listed: (!is_approved).then(|| definition.clone()),
                    is_gone: false,
                    changed_at: if current == Some(&definition.digest) {
                        pin.changed_at
                    } else {
                        now
                    },
                    ..(*pin).clone()
                }
            }
        };
        pins.insert(key.clone(), pin);
    }
    for (key, pin) in known {
        // What was never approved and is listed no more is nobody's business.
        let forgotten = pin.approved.is_none() && !listed.is_partial;
        if pins.contains_key(key) || forgotten {
            continue;
        }
        let mut pin = pin.clone();
        if !listed.is_partial && !pin.is_gone {
            pin.is_gone = true;
            pin.listed = None;
            pin.changed_at = now;
        }
        pins.insert(key.clone(), pin);
    }
    let after = McpPins {
        identity: listed.identity.clone(),
        era: Some(listed.era.clone()),
        pins: pins.into_values().collect(),
    };
    (before != Some(&after)).then_some(after)
}

/// The record of a server once these definitions are approved.
///
/// # Errors
/// A definition is not listed, or was changed since. Then no definition is approved.
pub fn approve(
    before: &McpPins,
    approvals: &[McpApproval],
    by: &Actor,
    now: Micros,
) -> Result<McpPins, McpRefused> {
    let mut after = before.clone();
    for approval in approvals {
        let pin = after.pins.iter_mut().find(|pin| pin.key == approval.key);
        let pin = pin.ok_or_else(|| McpRefused::NotListed(approval.key.clone()))?;
        let current = pin
            .current()
            .ok_or_else(|| McpRefused::NotListed(approval.key.clone()))?;
        let is_seen = approval
            .digest
            .as_ref()
            .is_none_or(|digest| *digest == current.digest);
        if !is_seen && !units::mutant!("ops-core.approves_what_was_not_seen") {
            return Err(McpRefused::Changed(approval.key.clone()));
        }
        if let Some(listed) = pin.listed.take() {
            pin.approved = Some(listed);
            pin.approved_at = Some(now);
            pin.approved_by = Some(by.clone());
        }
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        json::Json,
        mcp::{McpDefinition, McpPinState},
    };

    fn key(name: &str) -> McpKey {
        McpKey {
            kind: "tool".to_owned(),
            name: name.to_owned(),
        }
    }

    fn list(tools: &[(&str, &str)]) -> McpListed {
        let definition = |digest: &str| McpDefinition {
            digest: digest.to_owned(),
            raw: Json::null(),
        };
        McpListed {
            identity: "i".to_owned(),
            era: "modern".to_owned(),
            definitions: tools
                .iter()
                .map(|(name, digest)| (key(name), definition(digest)))
                .collect(),
            is_partial: false,
        }
    }

    fn states(pins: &McpPins) -> Vec<(&str, McpPinState)> {
        pins.pins
            .iter()
            .map(|pin| (pin.key.name.as_str(), pin.state()))
            .collect()
    }

    /// Promise P10.
    #[test]
    fn changed_new_and_renamed_tools_are_held_until_they_are_approved() {
        use McpPinState::{Approved, Changed, Gone, New};
        let first = listed(
            None,
            &list(&[("a", "1"), ("b", "1"), ("c", "1")]),
            Micros(1),
        )
        .unwrap();
        assert_eq!(
            states(&first),
            [("a", Approved), ("b", Approved), ("c", Approved)]
        );
        assert_eq!(
            listed(
                Some(&first),
                &list(&[("c", "1"), ("b", "1"), ("a", "1")]),
                Micros(2)
            ),
            None
        );

        let now = list(&[("a", "2"), ("b", "1"), ("c2", "1"), ("d", "1")]);
        let after = listed(Some(&first), &now, Micros(3)).unwrap();
        assert_eq!(
            states(&after),
            [
                ("a", Changed),
                ("b", Approved),
                ("c", Gone),
                ("c2", New),
                ("d", New)
            ]
        );
        assert_eq!(
            after.pins[0].approved.as_ref().unwrap().digest,
            "1",
            "models are sent the approved text"
        );

        let one = |name: &str, digest: &str| McpApproval {
            key: key(name),
            digest: Some(digest.to_owned()),
        };
        let approved = approve(
            &after,
            &[one("a", "2"), one("c2", "1")],
            &Actor::Local,
            Micros(4),
        )
        .unwrap();
        assert_eq!(
            states(&approved),
            [
                ("a", Approved),
                ("b", Approved),
                ("c", Gone),
                ("c2", Approved),
                ("d", New)
            ]
        );
        assert_eq!(approved.pins[0].approved_by, Some(Actor::Local));
        assert_eq!(listed(Some(&approved), &now, Micros(5)), None);
    }

    #[test]
    fn what_a_person_did_not_see_is_not_approved() {
        let first = listed(None, &list(&[("a", "1")]), Micros(1)).unwrap();
        let after = listed(Some(&first), &list(&[("a", "3"), ("b", "1")]), Micros(2)).unwrap();
        let seen = [
            McpApproval {
                key: key("b"),
                digest: Some("1".to_owned()),
            },
            McpApproval {
                key: key("a"),
                digest: Some("2".to_owned()),
            },
        ];
        assert_eq!(
            approve(&after, &seen, &Actor::Local, Micros(3)),
            Err(McpRefused::Changed(key("a")))
        );
        let none = [McpApproval {
            key: key("x"),
            digest: None,
        }];
        assert_eq!(
            approve(&after, &none, &Actor::Local, Micros(3)),
            Err(McpRefused::NotListed(key("x")))
        );
    }

    #[test]
    fn a_tool_that_comes_back_as_it_was_is_approved_still_and_a_partial_list_takes_nothing_away() {
        use McpPinState::{Approved, Changed, Gone, New};
        let first = listed(None, &list(&[("a", "1"), ("b", "1")]), Micros(1)).unwrap();
        let gone = listed(Some(&first), &list(&[("b", "1")]), Micros(2)).unwrap();
        assert_eq!(states(&gone), [("a", Gone), ("b", Approved)]);
        let back = listed(Some(&gone), &list(&[("a", "1"), ("b", "2")]), Micros(3)).unwrap();
        assert_eq!(states(&back), [("a", Approved), ("b", Changed)]);
        let again = listed(Some(&back), &list(&[("a", "1"), ("b", "1")]), Micros(4)).unwrap();
        assert_eq!(
            states(&again),
            [("a", Approved), ("b", Approved)],
            "a change that is taken back"
        );

        let partial = McpListed {
            is_partial: true,
            ..list(&[("c", "1")])
        };
        let after = listed(Some(&first), &partial, Micros(5)).unwrap();
        assert_eq!(
            states(&after),
            [("a", Approved), ("b", Approved), ("c", New)]
        );
        let whole = listed(Some(&after), &list(&[("a", "1"), ("b", "1")]), Micros(6)).unwrap();
        assert_eq!(
            states(&whole),
            [("a", Approved), ("b", Approved)],
            "a new one that went again is forgotten"
        );
    }

    proptest! {
        /// For any lists in any order, agents are given only definitions of the first list or approved definitions.
        #[test]
        fn only_what_was_first_or_approved_is_given(
            lists in proptest::collection::vec(proptest::collection::btree_map("[a-d]", "[1-3]", 0..4), 1..6),
        ) {
            let mut pins: Option<McpPins> = None;
            let mut allowed = std::collections::BTreeSet::new();
            for (at, one) in lists.iter().enumerate() {
                let tools: Vec<(&str, &str)> = one.iter().map(|(name, digest)| (name.as_str(), digest.as_str())).collect();
                if at == 0 {
                    allowed.extend(one.iter().map(|(name, digest)| (name.clone(), digest.clone())));
                }
                if let Some(after) = listed(pins.as_ref(), &list(&tools), Micros(at as i64)) {
                    pins = Some(after);
                }
                for pin in &pins.as_ref().unwrap().pins {
                    if pin.state() == McpPinState::Approved {
                        let digest = pin.approved.as_ref().unwrap().digest.clone();
                        prop_assert!(allowed.contains(&(pin.key.name.clone(), digest)));
                    }
                }
            }
        }
    }
}
