//! The last steps before the program: the process loses, step by step, its means to get out.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use super::{Zygote, init::Call, send, write_maps};
use crate::{
    linux::{
        files, filter,
        sys::process::{self, Resource},
        wire::{Program, Status},
    },
    report::{SetupError, Step, UserTier},
};

const OPEN_FILES: u64 = 1024;
const LOCKED_BYTES: u64 = 64 * 1024;

/// Becomes the program. `proc` is a folder of `/proc` that can be written.
pub(super) fn main(zygote: &Zygote, call: &mut Call, proc: &OwnedFd) -> ! {
    let error = match confine(zygote, call, proc) {
        Ok(never) => match never {},
        Err(Stop::Trial) => process::exit(0),
        Err(Stop::Failed(error)) => error,
    };
    let _ = send(call.status.as_fd(), &Status::Failed(error), &[]);
    process::exit(1)
}

/// Why no program was executed.
enum Stop {
    Trial,
    Failed(SetupError),
}

fn confine(
    zygote: &Zygote,
    call: &mut Call,
    proc: &OwnedFd,
) -> Result<std::convert::Infallible, Stop> {
    let at = |step| move |error: io::Error| Stop::Failed(SetupError::new(step, &error));
    process::new_session();
    // The kernel takes the program first where the whole machine has too little memory.
    let own =
        File::open(format!("/proc/self/fd/{}/self", proc.as_raw_fd())).map_err(at(Step::Proc))?;
    let score = format!("/proc/self/fd/{}/oom_score_adj", own.as_raw_fd());
    let _ = File::options()
        .write(true)
        .open(score)
        .and_then(|mut file| file.write_all(b"1000"));
    call.membership.join().map_err(at(Step::Cgroup))?;
    match zygote.tier {
        UserTier::OwnUser => {
            let uid = call.owners.as_ref().map_or(65_534, |(uid, _)| *uid);
            limits(call).map_err(at(Step::Limits))?;
            process::drop_bounding_set().map_err(at(Step::Capabilities))?;
            process::become_user(uid, uid).map_err(at(Step::User))?;
        }
        // One for each call, so that the kernel counts its processes apart from those of others.
        UserTier::UserNamespace => {
            let (uid, gid) = process::ids();
            process::unshare(libc::CLONE_NEWUSER).map_err(at(Step::UserNamespace))?;
            write_maps(&own, uid, gid).map_err(at(Step::UserNamespace))?;
            limits(call).map_err(at(Step::Limits))?;
            process::drop_bounding_set().map_err(at(Step::Capabilities))?;
        }
    }
    process::drop_capabilities().map_err(at(Step::Capabilities))?;
    process::no_new_privileges().map_err(at(Step::Capabilities))?;
    if let Some(version) = zygote.landlock {
        let grants = call.run.grants.iter().filter(|granted| granted.writable);
        let mut writable: Vec<&Path> = grants.map(|granted| granted.target.as_path()).collect();
        writable.push(Path::new("/tmp"));
        files::restrict(version, &writable).map_err(at(Step::Landlock))?;
    }
    std::env::set_current_dir(&call.run.folder).map_err(|error| {
        let folder = call.run.folder.display();
        let error = io::Error::new(error.kind(), format!("cannot enter {folder}: {error}"));
        Stop::Failed(SetupError::new(Step::Execute, &error))
    })?;
    let program = match &call.run.program {
        Program::Trial => None,
        Program::Execute {
            arguments,
            variables,
        } => Some(Prepared::new(arguments, variables).map_err(at(Step::Execute))?),
    };
    for (number, fd) in (0..).zip(&call.standard) {
        process::put(fd.as_fd(), number).map_err(at(Step::Execute))?;
    }
    process::close_on_exec(3, u32::MAX).map_err(at(Step::Execute))?;
    process::reset_signals();
    if !units::mutant!("agentkit-sandbox.no_filter") {
        let applied = filter::apply(&zygote.filter).map_err(at(Step::Seccomp));
        if !units::mutant!("agentkit-sandbox.falls_open") {
            applied?;
        }
    }
    match program {
        None => Err(Stop::Trial),
        Some(program) => Err(Stop::Failed(SetupError::new(
            Step::Execute,
            &program.execute(),
        ))),
    }
}

fn limits(call: &Call) -> io::Result<()> {
    let limits = &call.run.limits;
    process::limit(Resource::Core, 0)?;
    process::limit(Resource::OpenFiles, OPEN_FILES)?;
    process::limit(Resource::Locked, LOCKED_BYTES)?;
    process::limit(Resource::MessageQueues, 0)?;
    process::limit(Resource::FileSize, limits.file_bytes)?;
    // One process alone, if nothing else ends it: the first process of the sandbox sums up all of them.
    process::limit(
        Resource::Cpu,
        limits.cpu_ms.div_ceil(1000).saturating_add(1),
    )?;
    process::limit(Resource::Processes, u64::from(limits.processes))
}

/// A program with the strings that its execution needs, made before the filter is in force.
struct Prepared {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    variables: Vec<CString>,
}

impl Prepared {
    fn new(arguments: &[Vec<u8>], variables: &[(String, Vec<u8>)]) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::InvalidInput, "no program is named");
        let name = arguments.first().ok_or_else(missing)?;
        let path = variables.iter().find(|(name, _)| name == "PATH");
        let candidates = match name.contains(&b'/') {
            true => vec![CString::new(name.clone())?],
            false => {
                let folders = path.map_or(&b""[..], |(_, path)| path.as_slice());
                let folders = folders.split(|byte| *byte == b':');
                let name = std::ffi::OsStr::from_bytes(name);
                folders
                    .map(|folder| PathBuf::from(std::ffi::OsStr::from_bytes(folder)).join(name))
                    .map(|path| Ok(CString::new(path.as_os_str().as_bytes())?))
                    .collect::<io::Result<_>>()?
            }
        };
        let texts = arguments.iter().map(|text| CString::new(text.clone()));
        let variables = variables
            .iter()
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_slice()].concat()));
        Ok(Self {
            candidates,
            arguments: texts.collect::<Result<_, _>>()?,
            variables: variables.collect::<Result<_, _>>()?,
        })
    }

    /// Executes the first candidate that is there. Returns only an error.
    fn execute(&self) -> io::Error {
        let mut last = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            let error = process::execute(candidate, &self.arguments, &self.variables);
            // One that is there and cannot be executed says more than one that is not.
            if error.raw_os_error() != Some(libc::ENOENT) {
                last = error;
                break;
            }
        }
        let name = self.arguments.first().map(|name| name.to_string_lossy());
        io::Error::new(last.kind(), format!("{}: {last}", name.unwrap_or_default()))
    }
}
