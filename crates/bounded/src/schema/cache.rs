//! Compiled schemas that were used lately. An answer is checked against the schema of its run, and a
//! thousand runs of an agent have the same one.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::keyword::Compiled;

/// Most bytes that all schemas may take together.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// How many there may be.
const MAX_COUNT: usize = 1_024;

#[derive(Default)]
struct Cache {
    by_schema: HashMap<Arc<Value>, (Arc<Compiled>, u64)>,
    bytes: usize,
    uses: u64,
}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

fn cache() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn get(schema: &Value) -> Option<Arc<Compiled>> {
    let mut cache = cache();
    cache.uses += 1;
    let now = cache.uses;
    let (compiled, used) = cache.by_schema.get_mut(schema)?;
    *used = now;
    Some(Arc::clone(compiled))
}

pub(super) fn put(schema: &Value, compiled: &Arc<Compiled>) {
    let mut cache = cache();
    cache.uses += 1;
    let now = cache.uses;
    let entry = (Arc::clone(compiled), now);
    cache.bytes += compiled.bytes;
    if let Some((old, _)) = cache.by_schema.insert(Arc::new(schema.clone()), entry) {
        cache.bytes -= old.bytes;
    }
    while cache.by_schema.len() > 1
        && (cache.bytes > MAX_BYTES || cache.by_schema.len() > MAX_COUNT)
    {
        let oldest = cache.by_schema.iter().min_by_key(|(_, (_, used))| *used);
        let Some(oldest) = oldest.map(|(schema, _)| Arc::clone(schema)) else {
            break;
        };
        if let Some((old, _)) = cache.by_schema.remove(&oldest) {
            cache.bytes -= old.bytes;
        }
    }
}
