//! `cargo dev test`: the whole test suite on a stack of its own.

use std::fs;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use crate::commands::delete;
use crate::interrupt::Interrupt;
use crate::job::run_in_terminal;
use crate::ports::PortFlags;
use crate::progress::Progress;
use crate::stack::{Stack, lock_file, workspace};
use crate::up::{start_backing, stop_all};
use crate::{cargo, chaos, maven, prerequisites};

/// Starts a stack on free ports, runs `cargo test` on it, and takes it down. Returns the exit code of the tests.
///
/// The tests find the servers by the `WRIT_*` variables; `WRIT_TEST_STACK=1` tells them that these may be used for tests.
pub(crate) async fn test(args: &[String], keep: bool, interrupt: &Interrupt) -> Result<u8> {
    let tools = prerequisites::find()?;
    let progress = Progress::new();
    maven::fetch(&tools, &progress, &interrupt.stop).await?;
    let dir = workspace().join(".writ/test");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _lock = lock_file(&dir.with_extension("lock"))
        .context("another `cargo dev test` runs in this checkout; wait for its end")?;
    // What a killed run left behind.
    let before = Stack::open(&dir)?;
    stop_all(&before, |_| true, &interrupt.force).await?;
    delete(&before)?;

    let ports = PortFlags { free_ports: true, ..PortFlags::default() }.choose(None, |_| true);
    let stack = Stack::with_ports(&dir, ports)?.disposable();
    stack.save()?;
    let mut children = Default::default();
    let result = async {
        start_backing(&stack, &tools, &progress, &interrupt.stop, &mut children).await?;
        run(&stack, args, &interrupt.stop).await
    };
    let result = result.await;
    stop_all(&stack, |_| true, &interrupt.force).await?;
    if keep {
        eprintln!("The data and the logs of the servers are in {}.", dir.display());
    } else {
        delete(&stack)?;
        fs::remove_dir_all(&dir).with_context(|| format!("cannot delete {}", dir.display()))?;
    }
    match result? {
        // Only after the whole suite: who runs some tests wants their answer.
        0 if args.is_empty() => chaos::short(interrupt).await,
        code => Ok(code),
    }
}

async fn run(stack: &Stack, args: &[String], cancel: &CancellationToken) -> Result<u8> {
    let mut command = cargo::cargo();
    command.arg("test");
    if !names_a_package(args) {
        command.arg("--workspace");
    }
    command
        .args(args)
        .envs(stack.environment())
        .env("WRIT_TEST_STACK", "1")
        .env("WRIT_TEST_STACK_DIR", stack.dir());
    let status = run_in_terminal(command, cancel).await?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn names_a_package(args: &[String]) -> bool {
    let of_cargo = args.iter().take_while(|arg| *arg != "--");
    of_cargo.into_iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_argument_of_cargo_names_a_package() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(names_a_package(&args("-p writ-model decimal")));
        assert!(names_a_package(&args("--package=writ-model")));
        assert!(!names_a_package(&args("decimal -- -p")));
    }
}
