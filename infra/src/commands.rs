//! The commands about a stack that exists: `down`, `status`, `logs`, `reset`, `sample`, `bench`.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{ErrorKind, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio_util::sync::CancellationToken;

use crate::interrupt::Interrupt;
use crate::job::run_in_terminal;
use crate::progress::Progress;
use crate::server::{Server, last_lines};
use crate::stack::{Stack, workspace};
use crate::up::stop_all;
use crate::{access, cargo, postgres, sample, table};

/// Stops every server.
pub(crate) async fn down(stack: &Stack, interrupt: &Interrupt) -> Result<()> {
    let _lock = stack.lock()?;
    let stopped = stop_all(stack, |_| true, &interrupt.stop).await?;
    if stopped.is_empty() {
        println!("Nothing runs in {}.", stack.dir().display());
    } else {
        let names: Vec<_> = stopped.into_iter().map(Server::name).collect();
        println!("Stopped {}.", names.join(", "));
    }
    Ok(())
}

/// Prints a table of the servers.
pub(crate) async fn status(stack: &Stack) -> Result<()> {
    let mut rows = Vec::new();
    for server in Server::ALL {
        let run_file = stack.run_file(server);
        let (pid, state, memory) = match (run_file.living(), run_file.recorded()) {
            (Some(process), _) => {
                let state = match server.check(&stack.ports).await {
                    Ok(()) => "ready".to_owned(),
                    Err(error) => format!("not ready: {error:#}"),
                };
                (process.pid.to_string(), state, table::mebibytes(process.memory()))
            }
            (None, Some(process)) => (process.pid.to_string(), "ended by itself".to_owned(), String::new()),
            (None, None) => (String::new(), "stopped".to_owned(), String::new()),
        };
        rows.push([server.name().to_owned(), pid, stack.address(server), memory, state]);
    }
    print!("{}", table::render(["NAME", "PID", "ADDRESS", "MEMORY", "STATE"], &rows));
    Ok(())
}

/// Prints the end of a server's log, and with `follow` what is added to it.
pub(crate) async fn logs(stack: &Stack, server: Server, follow: bool, interrupt: &Interrupt) -> Result<()> {
    let path = stack.log(server.name());
    let lines = last_lines(&path, if follow { 20 } else { usize::MAX });
    let lines = lines
        .with_context(|| format!("cannot read {}; was {} ever started?", path.display(), server.title()))?;
    let mut output = std::io::stdout().lock();
    for line in lines {
        match writeln!(output, "{line}") {
            // The reader has seen enough (`| head`).
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("cannot print the log")?,
        }
    }
    if !follow {
        return Ok(());
    }
    drop(output);
    let mut position = fs::metadata(&path)?.len();
    loop {
        tokio::select! {
            () = interrupt.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        // Missing for a moment while a new start of the server renames it.
        let Ok(mut file) = File::open(&path) else { continue };
        if file.metadata()?.len() < position {
            position = 0;
        }
        file.seek(SeekFrom::Start(position))?;
        let mut added = Vec::new();
        position += u64::try_from(file.read_to_end(&mut added)?).expect("a length fits in 64 bits");
        let mut output = std::io::stdout().lock();
        output.write_all(&added).and_then(|()| output.flush()).context("cannot print the log")?;
    }
}

/// Stops the servers and deletes their data, logs and configuration.
pub(crate) async fn reset(stack: &Stack, yes: bool, interrupt: &Interrupt) -> Result<()> {
    if !yes {
        if !std::io::stdin().is_terminal() {
            bail!("this deletes all data in {}; say `--yes` if that is meant", stack.dir().display());
        }
        print!("Delete all data in {}? [y/N] ", stack.dir().display());
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            println!("Nothing was deleted.");
            return Ok(());
        }
    }
    let _lock = stack.lock()?;
    stop_all(stack, |_| true, &interrupt.stop).await?;
    delete(stack)?;
    println!("Deleted the data in {}.", stack.dir().display());
    Ok(())
}

/// Deletes what the stack wrote, and nothing else that may be in its folder.
pub(crate) fn delete(stack: &Stack) -> Result<()> {
    postgres::remove_data(stack)?;
    for name in ["data", "config", "logs", "run", "stack.json"] {
        let path = stack.dir().join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot delete {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Loads the sample data into the running server.
pub(crate) async fn load_sample(stack: &Stack, interrupt: &Interrupt) -> Result<()> {
    require(stack, Server::Writ).await?;
    send_sample(stack, &Progress::new(), &interrupt.stop).await
}

/// Sends the sample data as commands and shows how far it is.
pub(crate) async fn send_sample(
    stack: &Stack,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<()> {
    let step = RefCell::new(progress.step("sample data"));
    let show = |done, all| step.borrow_mut().note(&format!("{done} of {all} commands"));
    let (url, dir) = (stack.base_url(), workspace().join("models/sample"));
    let token = access::api_key(stack);
    let report = tokio::select! {
        result = sample::load(&url, token.as_deref(), &dir, &show) => result.context("cannot load the sample data")?,
        () = cancel.cancelled() => bail!("interrupted"),
    };
    step.into_inner().done(&report.to_string());
    Ok(())
}

/// Runs a benchmark against the running stack. Returns its exit code.
pub(crate) async fn bench(stack: &Stack, name: &str, args: &[String], interrupt: &Interrupt) -> Result<u8> {
    for server in [Server::Kafka, Server::Registry, Server::Postgres] {
        require(stack, server).await?;
    }
    match name {
        "command" => require(stack, Server::Writ).await?,
        // They start their own.
        _ => drop(cargo::build_writ(&interrupt.stop).await?),
    }
    let mut command = cargo::cargo();
    command.args(["run", "--profile", "up", "--package", "writ-bench", "--", name]).args(args);
    command.envs(stack.environment());
    if let Some(token) = access::api_key(stack) {
        command.env("BENCH_TOKEN", token);
    }
    let status = run_in_terminal(command, &interrupt.stop).await?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

async fn require(stack: &Stack, server: Server) -> Result<()> {
    server.check(&stack.ports).await.with_context(|| {
        format!(
            "{} doesn't answer at {}; start it with `cargo dev up`",
            server.title(),
            stack.address(server)
        )
    })
}
