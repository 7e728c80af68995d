//! Compiles a module, and checks its imports and exports.

use std::io::{Read as _, Write as _};

use wasmtime::{
    Engine, ExternType, Module, Result, bail, component::Component, error::Context as _,
};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::{code, engine, run, tell};

/// Bytes 6 and 7 of a binary: 0 for a core module, 1 for a component.
const LAYER: std::ops::Range<usize> = 6..8;

/// Reads a module from standard input and writes its code to standard output.
pub(super) fn main(with_fuel: bool) -> i32 {
    match read().and_then(|module| compile(&module, with_fuel)) {
        Ok(compiled) => {
            let mut output = std::io::stdout().lock();
            match output.write_all(&compiled).and_then(|()| output.flush()) {
                Ok(()) => 0,
                Err(_) => code::USAGE,
            }
        }
        Err(error) => {
            tell(&error);
            code::INVALID
        }
    }
}

fn read() -> Result<Vec<u8>> {
    let mut module = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut module);
    read.context("the module cannot be read")?;
    Ok(module)
}

/// The code of a module, binary or text.
fn compile(module: &[u8], with_fuel: bool) -> Result<Vec<u8>> {
    let module = wat::parse_bytes(module)?;
    let engine = engine(with_fuel)?;
    match module.get(LAYER) {
        Some([0, 0]) => core(&engine, &module),
        Some(_) => component(&engine, &module),
        None => bail!("it is no WebAssembly: it has {} bytes", module.len()),
    }
}

/// Compiles a core module with imports of WASI preview 1 alone and the export `_start`.
fn core(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>> {
    let module = Module::new(engine, bytes)?;
    run::core_linker(engine)?
        .instantiate_pre(&module)
        .context("a module may import `wasi_snapshot_preview1` alone")?;
    match module.get_export("_start") {
        Some(ExternType::Func(start))
            if start.params().len() == 0 && start.results().len() == 0 =>
        {
            module.serialize()
        }
        Some(_) => bail!("its export `_start` is not a function without parameters and results"),
        None => bail!(
            "it exports no `_start`: build a program, and not a library, for `wasm32-wasip1` or `wasm32-wasip2`"
        ),
    }
}

/// Compiles a component with imports of WASI preview 2 alone and the export `wasi:cli/run`.
fn component(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>> {
    let component = Component::new(engine, bytes)?;
    let linked = run::component_linker(engine)?
        .instantiate_pre(&component)
        .context("a component may import interfaces of WASI preview 2 alone")?;
    CommandPre::new(linked).context("a component must export `wasi:cli/run`")?;
    component.serialize()
}
