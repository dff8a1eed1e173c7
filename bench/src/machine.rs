//! The machine and the versions that a result belongs to.

use std::process::Command;

use serde::Serialize;

use crate::target::workspace;

/// What ran it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Model name of the processor, where the system tells.
    pub(crate) processor: String,
    /// Threads that run at once.
    pub(crate) cores: usize,
    /// Main memory in MiB; 0 where the system doesn't tell.
    pub(crate) memory_mib: u64,
    /// Name and release of the kernel.
    pub(crate) system: String,
    /// The commit of the checkout, with `-dirty` for changes.
    pub(crate) commit: String,
    /// Version of this workspace.
    pub(crate) version: &'static str,
    /// Version of librdkafka.
    pub(crate) librdkafka: String,
    /// The generator was built with optimisation.
    pub(crate) optimised: bool,
}

impl Machine {
    /// Looks around.
    pub(crate) fn new() -> Self {
        Machine {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_mib().unwrap_or_default(),
            system: output("uname", &["-sr"]),
            commit: output("git", &["describe", "--always", "--dirty"]),
            version: env!("CARGO_PKG_VERSION"),
            librdkafka: rdkafka::util::get_rdkafka_version().1,
            optimised: !cfg!(debug_assertions),
        }
    }
}

fn memory_mib() -> Option<u64> {
    let text = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 = text.strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

/// The value of the first `name : value` line.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What a program prints; `unknown` where it is missing: a result without it is still a result.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(workspace()).output().ok();
    let text =
        output.filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    match String::from_utf8_lossy(&text).trim() {
        "" => "unknown".to_owned(),
        text => text.to_owned(),
    }
}
