//! The folders that a declaration grants.

use std::path::{Component, Path};

use agentkit_sandbox::Grant;

use super::{
    definition::{Definition, Mistake},
    tool::{Base, TOOL},
};

/// The folders of a declaration, as they are now: a link that a program puts in the place of one later is not followed.
pub(super) fn grants(definition: &Definition, base: &Base) -> Result<Vec<Grant>, Mistake> {
    let whole = |field: &str, path: &Path| {
        let path = base.folder.join(path);
        let found = path.canonicalize();
        let found = found.map_err(|error| {
            Mistake(format!(
                "`{field}` names {}, which cannot be used: {error}",
                path.display()
            ))
        })?;
        match found.is_dir() {
            true => Ok(found),
            false => Err(Mistake(format!(
                "`{field}` names {}, which is no folder",
                path.display()
            ))),
        }
    };
    let mut grants = Vec::new();
    if let Some(folder) = &definition.folder {
        grants.push(Grant {
            source: whole("folder", folder)?,
            target: TOOL.into(),
            writable: false,
        });
    }
    for (field, list, writable) in [
        ("read", &definition.read, false),
        ("write", &definition.write, true),
    ] {
        for path in list {
            let source = whole(field, path)?;
            // The program knows the folder by the name that its author wrote, links and all.
            let is_plain =
                |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
            let target = match path.components().all(is_plain) {
                true => path.clone(),
                false => source.clone(),
            };
            grants.push(Grant {
                target,
                source,
                writable,
            });
        }
    }
    // A folder below another one is mounted on top of it.
    grants.sort_by_key(|grant| grant.target.components().count());
    Ok(grants)
}
