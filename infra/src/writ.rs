//! The server itself: built with the profile `up`, run with every role.

use std::fs::Metadata;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};

use crate::access;
use crate::ports::loopback;
use crate::prerequisites::Tools;
use crate::registry::get;
use crate::server::Server;
use crate::stack::{Stack, workspace};

pub(crate) fn command(stack: &Stack, tools: &Tools) -> Result<Command> {
    let program = tools.writ().context("`writ` is not built")?;
    let mut command = Command::new(program);
    command.arg("serve");
    if tools.is_open() {
        command.arg("--open");
    }
    command
        .arg("--models")
        .arg(workspace().join("models"))
        .envs(stack.environment())
        .env("WRIT_DATA", stack.data(Server::Writ))
        .env("WRIT_IDENTITY_KEYS", access::keys(stack))
        .env("WRIT_IDENTITY_URL", stack.base_url())
        // The tools' own requests are not to be slowed down, benchmarks least of all.
        .env("WRIT_HTTP_LIMITS_ACCOUNT_PER_MINUTE", "0")
        .env("WRIT_HTTP_LIMITS_KEY_PER_MINUTE", "0")
        // It reads `writ.toml` there.
        .current_dir(workspace());
    Ok(command)
}

/// Asks whether every part is ready; the answer names the parts that aren't.
pub(crate) async fn check(port: u16) -> Result<()> {
    get(&format!("http://{}/readyz", loopback(port))).await
}

/// Tells one build of the program from another.
pub(crate) fn version(program: &Path) -> Option<String> {
    let metadata: Metadata = program.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{}-{}", modified.as_nanos(), metadata.len()))
}
