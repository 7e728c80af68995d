//! What the environment says of a setting.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{kind::Kind, setting::Setting};

impl Setting {
    /// The value that the environment gives it, with the variable's name.
    pub(super) fn in_environment(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        dotenv: &BTreeMap<String, String>,
    ) -> Result<Option<(String, String)>> {
        let not_empty = |value: &String| !value.is_empty();
        for name in std::iter::once(&self.env).chain(self.legacy) {
            if let Some(value) = env(name).filter(not_empty) {
                return Ok(Some((value, (*name).to_owned())));
            }
            if self.kind == Kind::Secret {
                let name = format!("{name}_FILE");
                if let Some(path) = env(&name).filter(not_empty) {
                    let value = std::fs::read_to_string(&path)
                        .with_context(|| format!("cannot read `{path}`, which {name} names"))?;
                    return Ok(Some((value.trim().to_owned(), name)));
                }
            }
        }
        let found = self.legacy.iter().find_map(|name| {
            let value = dotenv.get(*name).filter(|value| not_empty(value))?;
            Some((value.clone(), format!("{name} in .env")))
        });
        Ok(found)
    }
}
