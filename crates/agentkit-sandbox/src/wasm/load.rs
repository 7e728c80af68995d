//! Loads compiled code: the only unsafe step of this module.

use std::{fs::File, io::Read as _, path::Path};

use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, Module, Precompiled, component::Component};

use super::RunRequest;

/// The most bytes of compiled code.
const MAX_CODE: u64 = 512 << 20;

/// Compiled code, loaded.
pub(super) enum Loaded {
    /// Of a core module.
    Core(Module),
    /// Of a component.
    Component(Component),
}

/// Loads the code of a request; `None` for other bytes than the host means, and for code of another runtime.
///
/// Compiled code is machine code: to load foreign bytes is to run them. Three walls stand around this step. The host
/// took the digest of the output of its own compiling call, and the hashed bytes are the loaded bytes, not a file with a
/// chance to change between two looks. The runtime compares its version and its set-up. And this process is a call of the
/// sandbox: bad code, as a defect of the compiler could make, has the grants and the limits of the call and nothing else.
/// The host itself never loads compiled code.
pub(super) fn load(engine: &Engine, request: &RunRequest) -> Option<Loaded> {
    let bytes = read(&request.code)?;
    let digest = units::hex::encode(Sha256::digest(&bytes));
    if digest != request.digest {
        return None;
    }
    match Engine::detect_precompiled(&bytes)? {
        Precompiled::Module => {
            // SAFETY: the digest shows that a compiling call of this program made the bytes.
            #[expect(
                unsafe_code,
                reason = "the runtime has no safe way to load compiled code"
            )]
            let module = unsafe { Module::deserialize(engine, &bytes) };
            module.ok().map(Loaded::Core)
        }
        Precompiled::Component => {
            // SAFETY: as above.
            #[expect(
                unsafe_code,
                reason = "the runtime has no safe way to load compiled code"
            )]
            let component = unsafe { Component::deserialize(engine, &bytes) };
            component.ok().map(Loaded::Component)
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    let read = file.take(MAX_CODE + 1).read_to_end(&mut bytes).ok()?;
    (read as u64 <= MAX_CODE).then_some(bytes)
}
