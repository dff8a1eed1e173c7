//! Fetches the servers that `infra/native/pom.xml` names into `.writ/servers/`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use crate::job::{run_to_end, run_with_lines};
use crate::prerequisites::Tools;
use crate::progress::Progress;
use crate::server::last_lines;
use crate::stack::{remove_folder, servers, workspace};

/// The file in the servers' folder that says from which `pom.xml` it was made: a copy of that file.
pub(crate) const SERVERS_STAMP: &str = "pom.xml";

/// How the name of a folder begins into which servers are being fetched.
const UNFINISHED: &str = "servers.new-";

/// Makes sure that the servers of the present `pom.xml` are there.
///
/// They are fetched to a folder beside the final one, which is renamed at the end: an interrupt leaves nothing half done.
pub(crate) async fn fetch(tools: &Tools, progress: &Progress, cancel: &CancellationToken) -> Result<()> {
    let target = servers();
    let pom = workspace().join("infra/native/pom.xml");
    let wanted = fs::read(&pom).with_context(|| format!("cannot read {}", pom.display()))?;
    if is_complete(&target, &wanted) {
        return Ok(());
    }
    let parent = target.parent().expect("the servers are in a folder of the workspace");
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let mut step = progress.step("Servers");
    step.note("waiting for another `cargo dev` that fetches them");
    let _lock = lock(&parent.join("servers.lock"), cancel).await?;
    if is_complete(&target, &wanted) {
        return Ok(());
    }
    remove_unfinished(parent)?;
    // Maven may go on for a while when this command is killed; it must not write where the next one does.
    let new = parent.join(format!("{UNFINISHED}{}", std::process::id()));
    let log_path = parent.join("maven.log");
    let mut log = File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--file"])
        .arg(&pom)
        .arg("package")
        .arg(format!("-Dservers.dir={}", new.display()))
        .env("JAVA_HOME", tools.java_home())
        .stderr(log.try_clone().context("cannot share Maven's log")?)
        // Maven looks for its settings of a project in the folder where it starts.
        .current_dir(parent);
    step.note("fetching Kafka, the registry, PostgreSQL and Redis with Maven (once)");
    let mut fetched = 0;
    let status = run_with_lines(maven, cancel, |line| {
        // A full disk makes the unpacking fail, with a better message.
        let _ = writeln!(log, "{line}");
        if let Some(artifact) = line.strip_prefix("Downloaded from ") {
            fetched += 1;
            let name = artifact.rsplit('/').find(|part| part.contains(" (")).unwrap_or(artifact);
            step.note(&format!("{fetched} files fetched, now {name}"));
        }
    });
    let status = match status.await {
        Ok(status) => status,
        Err(error) => {
            remove_folder(&new)?;
            return Err(error);
        }
    };
    if !status.success() {
        let lines = last_lines(&log_path, 20).unwrap_or_default();
        bail!("Maven failed ({status}); the end of {}:\n{}", log_path.display(), lines.join("\n"));
    }
    step.note("unpacking");
    unpack_postgres(&new.join("postgres")).await?;
    choose_redis(&new.join("redis"))?;
    remove_folder(&new.join(".maven"))?;
    fs::write(new.join(SERVERS_STAMP), &wanted).context("cannot write the servers' stamp")?;
    let old = parent.join("servers.old");
    remove_folder(&old)?;
    if target.exists() {
        fs::rename(&target, &old).with_context(|| format!("cannot rename {}", target.display()))?;
    }
    fs::rename(&new, &target).with_context(|| format!("cannot create {}", target.display()))?;
    remove_folder(&old)?;
    step.done(&format!("in {}", target.display()));
    Ok(())
}

fn is_complete(target: &Path, pom: &[u8]) -> bool {
    fs::read(target.join(SERVERS_STAMP)).is_ok_and(|made_from| made_from == pom)
}

async fn lock(path: &Path, cancel: &CancellationToken) -> Result<Flock<File>> {
    loop {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {}
            Err((_, error)) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
        tokio::select! {
            () = tokio::time::sleep(crate::process::POLL) => {}
            () = cancel.cancelled() => bail!("interrupted"),
        }
    }
}

/// The programs are in an archive inside the artifact; the build of `pom.xml` has taken the compression off.
async fn unpack_postgres(dir: &Path) -> Result<()> {
    let archive = dir.join("postgres.tar");
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(dir);
    run_to_end(tar, "tar").await?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}

/// The artifact carries a program for each platform; keeps the one of this machine, as `redis-server`.
fn choose_redis(dir: &Path) -> Result<()> {
    let platform = redis_platform(std::env::consts::OS, std::env::consts::ARCH)?;
    let mut found = false;
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(platform) {
            fs::rename(&path, dir.join("redis-server"))?;
            found = true;
        } else if path.is_file() {
            fs::remove_file(&path)?;
        }
    }
    if !found {
        bail!("the Redis artifact has no program for {platform}");
    }
    Ok(())
}

fn redis_platform(os: &str, arch: &str) -> Result<&'static str> {
    Ok(match (os, arch) {
        ("linux", "x86_64") => "-linux-amd64",
        ("linux", "aarch64") => "-linux-arm64",
        ("macos", "x86_64") => "-darwin-amd64",
        ("macos", "aarch64") => "-darwin-arm64",
        _ => bail!("there is no Redis program for {os} on {arch}; use docker-compose.yml there"),
    })
}

/// Removes what interrupted fetches left.
fn remove_unfinished(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).with_context(|| format!("cannot list {}", parent.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_another_pom_are_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_complete(folder.path(), b"<project/>"));
        fs::write(folder.path().join(SERVERS_STAMP), b"<project/>").unwrap();
        assert!(is_complete(folder.path(), b"<project/>"));
        assert!(!is_complete(folder.path(), b"<project>4.4</project>"));
    }

    #[test]
    fn one_redis_remains() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a-linux-amd64", "a-linux-386", "b-linux-arm64", "b-darwin-amd64", "b-darwin-arm64"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        choose_redis(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(folder.path().join("redis-server").is_file());
        assert!(choose_redis(folder.path()).is_err());
    }
}
