//! Builds `writ` with cargo.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::job::run_with_lines;
use crate::stack::workspace;

/// What cargo says about each thing that it built, of which one is the program.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The cargo that runs this command, else the one on the path, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    // Set by `cargo run` for this command's own package; it would make build scripts of others run again.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds `writ` with the profile `up`, with cargo's own progress on the terminal, and gives the path of the program.
pub(crate) async fn build_writ(cancel: &CancellationToken) -> Result<PathBuf> {
    build_writ_with("up", cancel).await
}

/// The same with the profile of the tests.
pub(crate) async fn build_writ_for_tests(cancel: &CancellationToken) -> Result<PathBuf> {
    build_writ_with("dev", cancel).await
}

async fn build_writ_with(profile: &str, cancel: &CancellationToken) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--profile", profile, "--package", "writ", "--bin", "writ"]);
    build.arg("--message-format=json-render-diagnostics");
    let mut program = None;
    let status = run_with_lines(build, cancel, |line| program = executable(line).or(program.take())).await?;
    if !status.success() {
        bail!("`writ` doesn't build; cargo's messages are above");
    }
    program.context("cargo built no program named `writ`")
}

fn executable(line: &str) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    message.target.filter(|target| target.name == "writ").and(message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let library = r#"{"reason":"compiler-artifact","target":{"name":"writ_model"},"executable":null}"#;
        let program = r#"{"reason":"compiler-artifact","target":{"name":"writ"},"executable":"/t/up/writ"}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(program), Some(PathBuf::from("/t/up/writ")));
        assert_eq!(executable("not JSON"), None);
    }
}
