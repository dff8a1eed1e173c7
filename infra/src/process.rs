//! Processes that outlive the command that started them.
//!
//! A server runs in a process group of its own, so that Ctrl-C in the terminal reaches `cargo dev` alone, and its
//! identity is written to a run file, so that a later command finds it again. A pid alone isn't an identity: the system
//! uses it again. Together with the start time it is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// How often a condition of another process is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// A process of the stack, as its run file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// The process id, and the id of the process group that it leads.
    pub(crate) pid: i32,
    /// When the process started, in the words of the operating system; only compared for equality.
    pub(crate) started: String,
    /// The port that it was told to listen on.
    pub(crate) port: u16,
    /// What was started, where that can change between two starts of the same stack (the build of `writ`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}

impl Process {
    /// Describes the process `pid`, or says `None` when there is none.
    pub(crate) fn of(pid: i32, port: u16) -> Option<Self> {
        Some(Self { pid, started: inspect(pid)?.started, port, version: None })
    }

    /// Whether this very process runs: not another one with its pid, and not a zombie.
    pub(crate) fn is_alive(&self) -> bool {
        inspect(self.pid).is_some_and(|now| !now.zombie && now.started == self.started)
    }

    /// Resident memory in bytes of the process and all its descendants.
    pub(crate) fn memory(&self) -> u64 {
        memory_of_tree(self.pid)
    }

    /// Sends `signal`, waits until the process is gone, and kills its whole group when that takes longer than `limit`.
    ///
    /// `impatient` ends the wait early (a second Ctrl-C). Returns whether the process ended by itself.
    pub(crate) async fn stop(
        &self,
        signal: Signal,
        limit: Duration,
        impatient: impl Future<Output = ()>,
    ) -> Result<bool> {
        if !self.is_alive() {
            return Ok(true);
        }
        let pid = Pid::from_raw(self.pid);
        match kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot send {signal} to process {pid}"));
            }
        }
        let gone = async { self.wait_until_gone(limit).await };
        let ended = tokio::select! {
            ended = gone => ended,
            () = impatient => false,
        };
        // Also after a clean end: a child that the server forgot would keep files and ports open.
        match killpg(pid, Signal::SIGKILL) {
            // EPERM is what macOS says for a group of zombies.
            Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot kill process group {pid}")),
        }
        if !ended && !self.wait_until_gone(Duration::from_secs(5)).await {
            anyhow::bail!("process {pid} is still there 5 seconds after SIGKILL");
        }
        Ok(ended)
    }

    async fn wait_until_gone(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }
}

/// The run file of one server: `run/NAME.json` in the stack's folder.
#[derive(Debug, Clone)]
pub(crate) struct RunFile(PathBuf);

impl RunFile {
    /// The run file at `path`, which need not exist.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The process in the file when it is alive. A file about a dead process, or that a crash left half written, counts
    /// as none.
    pub(crate) fn living(&self) -> Option<Process> {
        self.recorded().filter(Process::is_alive)
    }

    /// The process in the file, alive or not.
    pub(crate) fn recorded(&self) -> Option<Process> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    /// Records `process`.
    pub(crate) fn write(&self, process: &Process) -> Result<()> {
        write_atomically(&self.0, &serde_json::to_vec_pretty(process)?)
    }

    /// Removes the file.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file so that a reader, or a crash, sees the old content or the new, never a part.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, content)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The name of the program that runs as process `pid`; `None` when there is none, or only a zombie.
pub(crate) fn program_of(pid: i32) -> Option<String> {
    inspect(pid).filter(|process| !process.zombie).map(|process| process.name)
}

/// Whether the system still knows the process `pid`, if only as a zombie.
pub(crate) fn exists(pid: i32) -> bool {
    inspect(pid).is_some()
}

#[derive(Debug)]
struct Inspected {
    started: String,
    zombie: bool,
    name: String,
}

#[cfg(target_os = "linux")]
fn inspect(pid: i32) -> Option<Inspected> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = fields_after_name(&stat)?;
    let state = fields.next()?;
    // Field 22 of the file, counted in clock ticks since the boot; the state is field 3.
    let ticks = fields.nth(18)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let name = stat.split_once('(')?.1.rsplit_once(')')?.0.to_owned();
    Some(Inspected { started: format!("{ticks}@{}", boot.trim()), zombie: matches!(state, "Z" | "X"), name })
}

/// The fields of `/proc/PID/stat` from the third on. The second is the name in parentheses, and may contain anything.
#[cfg(target_os = "linux")]
fn fields_after_name(stat: &str) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

#[cfg(not(target_os = "linux"))]
fn inspect(pid: i32) -> Option<Inspected> {
    let field = |name: &str| {
        let ps = std::process::Command::new("ps").args(["-o", name, "-p", &pid.to_string()]).output().ok()?;
        let text = String::from_utf8(ps.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let zombie = field("state=")?.starts_with('Z');
    Some(Inspected { started: field("lstart=")?, zombie, name: field("ucomm=")? })
}

/// `(pid, parent, resident bytes)` of every process that can be seen.
#[cfg(target_os = "linux")]
fn processes() -> Vec<(i32, i32, u64)> {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut fields = fields_after_name(&stat)?;
            let parent = fields.nth(1)?.parse().ok()?;
            // Field 24, in pages.
            let pages: u64 = fields.nth(19)?.parse().ok()?;
            Some((pid, parent, pages * page.unsigned_abs()))
        })
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn processes() -> Vec<(i32, i32, u64)> {
    let Ok(ps) = std::process::Command::new("ps").args(["-A", "-o", "pid=,ppid=,rss="]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&ps.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (pid, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((pid, parent, fields.next()?.parse::<u64>().ok()? * 1024))
        })
        .collect()
}

fn memory_of_tree(root: i32) -> u64 {
    let all = processes();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(pid, ..)| *pid));
        next += 1;
    }
    all.iter().filter(|(pid, ..)| tree.contains(pid)).map(|(.., bytes)| bytes).sum()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    use super::*;

    fn child(script: &str) -> (Child, Process) {
        let child = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let process = Process::of(child.id().cast_signed(), 0).unwrap();
        (child, process)
    }

    #[tokio::test]
    async fn stops_a_process_that_obeys() {
        let (mut child, process) = child("exec sleep 600");
        assert!(process.is_alive());
        assert!(process.stop(Signal::SIGTERM, Duration::from_secs(30), pending()).await.unwrap());
        assert!(!process.is_alive());
        assert!(!child.wait().unwrap().success());
    }

    #[tokio::test]
    async fn kills_the_group_of_a_process_that_does_not_obey() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let (mut child, process) = child(&format!(
            "trap '' TERM; sleep 600 & echo $! > '{0}.new'; mv '{0}.new' '{0}'; while :; do wait; done",
            ready.display()
        ));
        while !ready.exists() {
            sleep(POLL).await;
        }
        let grandchild: i32 = fs::read_to_string(&ready).unwrap().trim().parse().unwrap();
        let grandchild = Process::of(grandchild, 0).unwrap();
        assert!(!process.stop(Signal::SIGTERM, Duration::from_millis(200), pending()).await.unwrap());
        child.wait().unwrap();
        while grandchild.is_alive() {
            sleep(POLL).await;
        }
    }

    #[tokio::test]
    async fn a_second_request_does_not_wait_for_the_limit() {
        let (mut child, process) = child("trap '' TERM; while :; do sleep 600; done");
        assert!(!process.stop(Signal::SIGTERM, Duration::from_secs(600), async {}).await.unwrap());
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_stranger_with_the_same_pid_is_left_alone() {
        let (mut child, process) = child("exec sleep 600");
        let recorded = Process { started: "long ago".into(), ..process.clone() };
        assert!(!recorded.is_alive());
        assert!(recorded.stop(Signal::SIGKILL, Duration::ZERO, pending()).await.unwrap());
        assert!(process.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_run_file_is_read_back_and_counts_only_while_its_process_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("with space.json");
        let file = RunFile::new(path.clone());
        assert_eq!(file.living(), None);
        let me = Process::of(std::process::id().cast_signed(), 9092).unwrap();
        file.write(&me).unwrap();
        assert_eq!(file.living(), Some(me.clone()));
        file.write(&Process { started: "long ago".into(), ..me }).unwrap();
        assert!(file.living().is_none() && file.recorded().is_some());
        fs::write(&path, "{\"pid\": 1").unwrap();
        assert_eq!(file.recorded(), None);
        file.remove().unwrap();
        file.remove().unwrap();
    }

    #[test]
    fn a_zombie_exists_but_runs_no_program() {
        let (mut child, process) = child("exec sleep 600");
        child.kill().unwrap();
        while process.is_alive() {
            std::thread::sleep(POLL);
        }
        assert!(exists(process.pid));
        assert_eq!(program_of(process.pid), None);
        child.wait().unwrap();
        assert!(!exists(process.pid));
        assert!(program_of(std::process::id().cast_signed()).is_some());
    }

    #[test]
    fn memory_includes_descendants() {
        let me = Process::of(std::process::id().cast_signed(), 0).unwrap();
        let alone = me.memory();
        assert!(alone > 0);
        let (mut child, process) = child("exec sleep 600");
        assert!(me.memory() >= process.memory());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
