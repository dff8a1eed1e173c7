//! Commands that end by themselves: Maven, cargo, the tools that prepare a server's data.

use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::process::Process;

/// Runs a short command to its end. It doesn't outlive the future.
///
/// # Errors
/// It can't be run, or fails; then its output is in the error.
pub(crate) async fn run_to_end(command: Command, name: &str) -> Result<()> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&text).trim());
    }
    Ok(())
}

/// Runs a long command and hands every line of its standard output to `on_line`. Its standard error is the caller's.
///
/// # Errors
/// It can't be run. A cancelled `cancel` ends the command and all that it started.
pub(crate) async fn run_with_lines(
    command: Command,
    cancel: &CancellationToken,
    mut on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let output = child.stdout.take().expect("the output is a pipe");
    let mut lines = BufReader::new(output).split(b'\n');
    let status = async {
        while let Some(line) = lines.next_segment().await.context("cannot read the output")? {
            on_line(String::from_utf8_lossy(&line).trim_end());
        }
        child.wait().await.with_context(|| format!("cannot wait for {name}"))
    };
    tokio::select! {
        status = status => return status,
        () = cancel.cancelled() => {}
    }
    end(&mut child).await?;
    bail!("interrupted")
}

/// Runs a long command that shares this one's terminal.
///
/// # Errors
/// It can't be run. A cancelled `cancel` ends the command and all that it started.
pub(crate) async fn run_in_terminal(command: Command, cancel: &CancellationToken) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    tokio::select! {
        status = child.wait() => return status.with_context(|| format!("cannot wait for {name}")),
        () = cancel.cancelled() => {}
    }
    end(&mut child).await?;
    bail!("interrupted")
}

/// Ends a child and its process group, as Ctrl-C would.
async fn end(child: &mut Child) -> Result<()> {
    if let Some(pid) = child.id()
        && let Some(process) = Process::of(pid.cast_signed(), 0)
    {
        process.stop(Signal::SIGINT, Duration::from_secs(5), std::future::pending()).await?;
    }
    child.wait().await.context("cannot wait for the end of a command")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_failed_command_shows_its_output() {
        let error = run_to_end(sh("echo out; echo err >&2; exit 3"), "initdb").await.unwrap_err().to_string();
        assert!(error.contains("initdb failed (exit status: 3)") && error.contains("out\nerr"), "{error}");
    }

    #[tokio::test]
    async fn lines_arrive_with_the_exit_status() {
        let mut seen = Vec::new();
        let cancel = CancellationToken::new();
        let status =
            run_with_lines(sh("echo one; printf 'two'; exit 4"), &cancel, |line| seen.push(line.to_owned()));
        assert_eq!(status.await.unwrap().code(), Some(4));
        assert_eq!(seen, ["one", "two"]);
    }

    #[tokio::test]
    async fn an_interrupt_ends_the_command_and_what_it_started() {
        let cancel = CancellationToken::new();
        let mut pid = None;
        let script = "sleep 600 & echo $!; wait";
        let result = run_with_lines(sh(script), &cancel, |line| {
            pid = line.parse().ok().and_then(|pid| Process::of(pid, 0));
            cancel.cancel();
        });
        assert_eq!(result.await.unwrap_err().to_string(), "interrupted");
        let grandchild = pid.expect("the pid was printed");
        while grandchild.is_alive() {
            tokio::time::sleep(crate::process::POLL).await;
        }
    }
}
