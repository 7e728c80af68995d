//! Runs compiled code.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use wasmtime::{
    Engine, Linker, Module, Result, Store, Trap, bail,
    component::{Component, Linker as ComponentLinker, ResourceTable},
    error::Context as _,
    format_err,
};
use wasmtime_wasi::{
    FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    p1::{self, WasiP1Ctx},
    p2::{self, bindings::Command, pipe::MemoryInputPipe},
    sockets::SocketAddrUse,
};

use super::{
    RunRequest, code, engine,
    load::{self, Loaded},
    room::Room,
    tell,
};

/// Variables of the sandbox without a meaning for a module.
const OF_SANDBOX: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];
/// Name of the base of relative paths.
const CURRENT: &str = ".";

/// State behind the imports of a core module.
pub(super) struct CoreHost {
    wasi: WasiP1Ctx,
    room: Room,
}

/// State behind the imports of a component.
pub(super) struct ComponentHost {
    wasi: WasiCtx,
    table: ResourceTable,
    room: Room,
}

impl WasiView for ComponentHost {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// The imports of core modules.
pub(super) fn core_linker(engine: &Engine) -> Result<Linker<CoreHost>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |host: &mut CoreHost| &mut host.wasi)?;
    Ok(linker)
}

/// The imports of components.
pub(super) fn component_linker(engine: &Engine) -> Result<ComponentLinker<ComponentHost>> {
    let mut linker = ComponentLinker::new(engine);
    p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

/// How a module ended.
struct Ended {
    result: Result<()>,
    /// Whether the module was refused memory.
    was_refused: bool,
}

/// Runs the code of a request; gives the exit code.
pub(super) fn main(request: &RunRequest) -> i32 {
    let Ok(engine) = engine(request.fuel.is_some()) else {
        return code::USAGE;
    };
    let Some(loaded) = load::load(&engine, request) else {
        return code::STALE;
    };
    interrupt(&engine, Duration::from_millis(request.time_ms));
    // One thread: imports that wait hold up the module alone.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match loaded {
                Loaded::Core(module) => core(&engine, &module, request).await,
                Loaded::Component(found) => component(&engine, &found, request).await,
            }
        }),
        Err(error) => Err(error.into()),
    };
    // What the module wrote comes before the word on its end.
    let _ = std::io::stdout().flush();
    match ended {
        Ok(ended) => exit_code(&ended),
        Err(error) => {
            tell(&error);
            code::INVALID
        }
    }
}

/// Interrupts the module after a time. The sandbox ends a module in an import soon afterwards.
fn interrupt(engine: &Engine, time: Duration) {
    let engine = engine.clone();
    std::thread::spawn(move || {
        std::thread::sleep(time);
        engine.increment_epoch();
    });
}

fn exit_code(ended: &Ended) -> i32 {
    let Err(error) = &ended.result else {
        return 0;
    };
    if let Some(I32Exit(own)) = error.downcast_ref::<I32Exit>() {
        return match own {
            0..=code::LAST_OF_MODULE => *own,
            _ => code::LAST_OF_MODULE,
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => code::FUEL,
        Some(Trap::Interrupt) => code::TIME,
        _ if ended.was_refused => code::MEMORY,
        Some(_) | None => {
            tell(error);
            code::TRAP
        }
    }
}

/// Whether a component may do this with a socket: connect to the proxy of its sandbox, and nothing else. Where nothing
/// listens or resolves names, the sandbox would refuse it as well.
fn may(address: SocketAddr, what: SocketAddrUse) -> bool {
    let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::PROXY_PORT));
    match what {
        // A connection is bound by the system, to no address of the module's choice.
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        SocketAddrUse::TcpConnect => address == proxy,
        SocketAddrUse::TcpListen
        | SocketAddrUse::TcpAccept
        | SocketAddrUse::UdpBind
        | SocketAddrUse::UdpSend
        | SocketAddrUse::UdpReceive => false,
    }
}

/// The world of a module: its folders, its variables and standard streams, and of a network the proxy at the most.
fn world(request: &RunRequest) -> Result<WasiCtxBuilder> {
    let mut input = Vec::new();
    std::io::stdin().lock().read_to_end(&mut input)?;
    let mut world = WasiCtxBuilder::new();
    world
        .stdin(MemoryInputPipe::new(input))
        .inherit_stdout()
        .inherit_stderr()
        .allow_blocking_current_thread(true)
        .allow_tcp(request.network)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .socket_addr_check(|address, what| Box::pin(std::future::ready(may(address, what))))
        .arg("module");
    for (name, value) in std::env::vars_os() {
        // A name or a value that is no text cannot be a module's.
        if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
            && !OF_SANDBOX.contains(&name)
        {
            world.env(name, value);
        }
    }
    for (index, folder) in request.folders.iter().enumerate() {
        let perms = match folder.writable {
            true => FsPerms::ReadWrite,
            false => FsPerms::ReadOnly,
        };
        // Relative paths lead into the first folder, under whatever name a language's library looks for it.
        let names = (index == 0).then_some(CURRENT).into_iter();
        for name in names.chain([folder.name.as_str()]) {
            world
                .preopened_dir(&folder.path, name, perms)
                .with_context(|| {
                    format!("the folder {} cannot be opened", folder.path.display())
                })?;
        }
    }
    Ok(world)
}

fn limit<T>(store: &mut Store<T>, request: &RunRequest) -> Result<()> {
    if let Some(fuel) = request.fuel {
        store.set_fuel(fuel)?;
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_trap();
    Ok(())
}

async fn core(engine: &Engine, module: &Module, request: &RunRequest) -> Result<Ended> {
    if request.network {
        bail!(
            "`hosts` are for components (`wasm32-wasip2`): a module of WASI preview 1 has no call that connects"
        );
    }
    let host = CoreHost {
        wasi: world(request)?.build_p1(),
        room: Room::new(request.memory),
    };
    let mut store = Store::new(engine, host);
    limit(&mut store, request)?;
    store.limiter(|host| &mut host.room);
    let linker = core_linker(engine)?;
    let result = async {
        let instance = linker.instantiate_async(&mut store, module).await?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        start.call_async(&mut store, ()).await
    };
    let result = result.await;
    let was_refused = store.data().room.refused;
    Ok(Ended {
        result,
        was_refused,
    })
}

async fn component(engine: &Engine, component: &Component, request: &RunRequest) -> Result<Ended> {
    let host = ComponentHost {
        wasi: world(request)?.build(),
        table: ResourceTable::new(),
        room: Room::new(request.memory),
    };
    let mut store = Store::new(engine, host);
    limit(&mut store, request)?;
    store.limiter(|host| &mut host.room);
    let linker = component_linker(engine)?;
    let result = async {
        let command = Command::instantiate_async(&mut store, component, &linker).await?;
        let run = command.wasi_cli_run();
        match run.call_run(&mut store).await? {
            Ok(()) => Ok(()),
            Err(()) => Err(format_err!("the component's `run` failed")),
        }
    };
    let result = result.await;
    let was_refused = store.data().room.refused;
    Ok(Ended {
        result,
        was_refused,
    })
}
