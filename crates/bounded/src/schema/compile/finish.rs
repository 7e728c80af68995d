//! Checks once the whole schema is compiled: circles, and verdicts that are kept.

use crate::schema::{
    SchemaError,
    keyword::{Check, Compiled, NodeId},
};

/// Refuses a schema that refers to itself without looking at a part of the value: no check of it
/// would end.
pub(super) fn circle(compiled: &Compiled) -> Result<(), SchemaError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; compiled.nodes.len()];
    for start in 0..compiled.nodes.len() {
        let mut path = vec![(start, false)];
        while let Some((node, left)) = path.pop() {
            if left {
                marks[node] = Mark::Done;
                continue;
            }
            match marks[node] {
                Mark::Done => continue,
                Mark::Open => return Err(SchemaError::Circle),
                Mark::New => {}
            }
            marks[node] = Mark::Open;
            path.push((node, true));
            for check in &compiled.nodes[node].checks {
                if matches!(check, Check::DynamicRef { .. }) {
                    continue;
                }
                let mut refused = false;
                check.in_place(&mut |inner| {
                    let inner = inner as usize;
                    refused |= marks[inner] == Mark::Open;
                    path.push((inner, false));
                });
                if refused {
                    return Err(SchemaError::Circle);
                }
            }
        }
    }
    Ok(())
}

/// Marks the nodes whose verdicts are kept: those that more than one keyword asks, and those that
/// are asked once more for what they have looked at.
pub(super) fn keep(compiled: &mut Compiled) {
    let mut asked = vec![0_u32; compiled.nodes.len()];
    let mut again = Vec::new();
    asked[compiled.root as usize] += 1;
    for (id, node) in compiled.nodes.iter().enumerate() {
        for check in &node.checks {
            let mut count = |inner: NodeId| asked[inner as usize] += 1;
            check.in_place(&mut count);
            check.below(&mut count);
            if check.is_unevaluated() {
                again.push(id as NodeId);
            }
        }
    }
    // A dynamic reference may lead to any of these.
    for (_, node) in compiled.dynamic.iter().flatten() {
        asked[*node as usize] += 2;
    }
    let mut seen = vec![false; compiled.nodes.len()];
    while let Some(id) = again.pop() {
        if std::mem::replace(&mut seen[id as usize], true) {
            continue;
        }
        for check in &compiled.nodes[id as usize].checks {
            check.in_place(&mut |inner| {
                asked[inner as usize] += 2;
                again.push(inner);
            });
        }
    }
    for (node, asked) in compiled.nodes.iter_mut().zip(asked) {
        node.keeps = asked > 1;
    }
}
