//! PostgreSQL, which refuses to run as root: then it runs as `nobody`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::unistd::{User, chown, geteuid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::job::run_to_end;
use crate::maven::SERVERS_STAMP;
use crate::ports::loopback;
use crate::process::{POLL, exists, program_of};
use crate::server::Server;
use crate::stack::{Stack, remove_folder, servers};

/// Where the programs and the data are when root's own folders can't be entered by `nobody` (a checkout in `/root`).
const SHARED_HOME: &str = "/var/lib/writ-dev";

/// Where PostgreSQL lives, and as whom it runs.
struct Home {
    programs: PathBuf,
    data: PathBuf,
    /// Set when this command runs as root.
    user: Option<User>,
}

impl Home {
    fn of(stack: &Stack) -> Result<Self> {
        let programs = servers().join("postgres");
        let data = stack.data(Server::Postgres);
        if !geteuid().is_root() {
            return Ok(Self { programs, data, user: None });
        }
        let user = User::from_name("nobody")?
            .context("PostgreSQL refuses to run as root, and there is no user `nobody` to run it as")?;
        let user = Some(user);
        if everyone_may_enter(&servers()) && everyone_may_enter(stack.dir()) {
            return Ok(Self { programs, data, user });
        }
        let home = shared_home(stack.dir());
        Ok(Self { programs: home.join("programs"), data: home.join("data"), user })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join("bin").join(program));
        // Its messages are matched by people, and a locale of the machine may be unknown to these binaries.
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Gives `folder` to the user that PostgreSQL runs as.
    fn hand_over(&self, folder: &Path) -> Result<()> {
        if let Some(user) = &self.user {
            chown(folder, Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give {} to {}", folder.display(), user.name))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot restrict {}", folder.display()))
    }
}

pub(crate) async fn command(stack: &Stack) -> Result<Command> {
    let home = Home::of(stack)?;
    copy_programs(&home).await?;
    let unfinished = home.data.with_extension("new");
    remove_folder(&unfinished)?;
    if !home.data.exists() {
        fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
        home.hand_over(&unfinished)?;
        let mut initdb = home.command("initdb");
        initdb
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
                "--no-instructions",
            ])
            // The same order of texts on every machine, whatever its C library.
            .args(["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"])
            .arg("--pgdata")
            .arg(&unfinished);
        run_to_end(initdb, "initdb").await?;
        fs::rename(&unfinished, &home.data)
            .with_context(|| format!("cannot create {}", home.data.display()))?;
    }
    clear_lock(&home.data).await?;
    let mut command = home.command("postgres");
    command.arg("-D").arg(&home.data);
    let mut set = |name: &str, value: &str| {
        command.arg("-c").arg(format!("{name}={value}"));
    };
    set("listen_addresses", "127.0.0.1");
    set("port", &stack.ports.postgres.to_string());
    // Socket files would be one more thing that a kill -9 leaves behind.
    set("unix_socket_directories", "");
    set("max_connections", "200");
    set("shared_buffers", "128MB");
    set("timezone", "UTC");
    set("log_timezone", "UTC");
    set("log_line_prefix", "%m [%p] ");
    if stack.is_disposable() {
        set("fsync", "off");
    }
    Ok(command)
}

/// Removes a `postmaster.pid` that would stop the start for ever: PostgreSQL believes in it while any process has the
/// number in it, and after a kill -9 and a restart of the machine that may be a stranger.
async fn clear_lock(data: &Path) -> Result<()> {
    let path = data.join("postmaster.pid");
    let Ok(content) = fs::read_to_string(&path) else { return Ok(()) };
    let Some(pid) = content.lines().next().and_then(|line| line.trim().parse().ok()) else { return Ok(()) };
    // A killed server is there until its parent has asked for its exit status.
    let deadline = Instant::now() + Duration::from_secs(5);
    while exists(pid) && program_of(pid).is_none() && Instant::now() < deadline {
        sleep(POLL).await;
    }
    if exists(pid) && program_of(pid).is_none_or(|program| program != "postgres") {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Whether a start failed only because processes of a killed server haven't noticed yet that it is gone.
pub(crate) fn predecessor_is_leaving(log: &[String]) -> bool {
    log.iter()
        .any(|line| line.contains("pre-existing shared memory block") || line.contains("already exists"))
}

/// Asks for a session, as every client does; a server that is starting or stopping refuses.
pub(crate) async fn check(port: u16) -> Result<()> {
    // Version 3.0 of the protocol, then names and values, each ended by NUL, and one NUL more.
    let mut request = vec![0, 3, 0, 0];
    request.extend_from_slice(b"user\0postgres\0database\0postgres\0application_name\0cargo dev\0\0");
    let length = u32::try_from(request.len() + 4).expect("the request is short");
    let mut stream = TcpStream::connect(loopback(port)).await?;
    stream.write_all(&[&length.to_be_bytes()[..], &request].concat()).await?;
    let kind = stream.read_u8().await?;
    let rest = stream.read_u32().await?.saturating_sub(4).min(4096);
    let mut body = vec![0; rest as usize];
    stream.read_exact(&mut body).await?;
    match kind {
        // An authentication request of kind 0: none is needed.
        b'R' if body == [0; 4] => {
            // A polite end, so that the server doesn't log an unexpected end of file.
            stream.write_all(&[b'X', 0, 0, 0, 4]).await?;
            Ok(())
        }
        b'E' => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ").trim()),
        _ => bail!("what listens on port {port} is not this stack's PostgreSQL"),
    }
}

/// Removes the data that isn't in the stack's folder.
pub(crate) fn remove_data(stack: &Stack) -> Result<()> {
    if geteuid().is_root() {
        remove_folder(&shared_home(stack.dir()))?;
    }
    Ok(())
}

/// Copies the programs to where `nobody` can run them, once for every version of them.
async fn copy_programs(home: &Home) -> Result<()> {
    let original = servers().join("postgres");
    if home.programs == original {
        return Ok(());
    }
    let parent = home.programs.parent().expect("the programs are in the shared home");
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    for folder in [Path::new(SHARED_HOME), parent] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot open {} to everyone", folder.display()))?;
    }
    let stamp = fs::read(servers().join(SERVERS_STAMP)).context("the servers have no stamp")?;
    let copied = home.programs.join(SERVERS_STAMP);
    if fs::read(&copied).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    remove_folder(&home.programs)?;
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(&original).arg(&home.programs);
    run_to_end(copy, "cp").await?;
    // The stamp comes last: without it the copy isn't complete.
    fs::write(&copied, stamp).with_context(|| format!("cannot write {}", copied.display()))
}

fn shared_home(stack: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    stack.hash(&mut hasher);
    Path::new(SHARED_HOME).join(format!("{:016x}", hasher.finish()))
}

/// Whether a user who owns nothing can reach what is in `folder`.
fn everyone_may_enter(folder: &Path) -> bool {
    folder.ancestors().all(|folder| match folder.metadata() {
        Ok(metadata) => metadata.permissions().mode() & 0o001 != 0,
        // To be created, with the usual permissions.
        Err(error) => error.kind() == ErrorKind::NotFound,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_above_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let inner = folder.path().join("not there/yet");
        assert!(everyone_may_enter(&inner));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!everyone_may_enter(&inner));
    }

    #[tokio::test]
    async fn a_lock_with_the_number_of_a_stranger_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("postmaster.pid");
        fs::write(&lock, format!("{}\n/data\n", std::process::id())).unwrap();
        clear_lock(folder.path()).await.unwrap();
        assert!(!lock.exists());
        clear_lock(folder.path()).await.unwrap();
    }

    #[test]
    fn every_stack_has_a_shared_home_of_its_own() {
        assert_eq!(shared_home(Path::new("/a")), shared_home(Path::new("/a")));
        assert_ne!(shared_home(Path::new("/a")), shared_home(Path::new("/b")));
    }
}
