//! Runs a subcommand of `writ` in a world, to its end or until it is killed.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::server::writ;
use super::world::{self, World};
use super::{LIMIT, models, unique};

/// How a subcommand ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Itself, if that is its exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// What went wrong, whose lines may be broken anywhere between two words.
    pub(crate) fn complaint(&self) -> String {
        let words: Vec<_> = self.stderr.split_whitespace().filter(|word| *word != "│").collect();
        words.join(" ")
    }
}

fn command(world: &World, partitions: i32, arguments: &[&str]) -> Command {
    let mut command = writ();
    command
        .current_dir(world.folder())
        .args(arguments)
        .env("WRIT_APP", models::APP)
        .env("WRIT_MODELS", world.models())
        .env("WRIT_KAFKA_BROKERS", world::brokers())
        .env("WRIT_KAFKA_TOPIC_PREFIX", &world.prefix)
        .env("WRIT_KAFKA_PARTITIONS", partitions.to_string())
        .env("WRIT_REGISTRY_URL", world::registry_url())
        .env("WRIT_POSTGRES_URL", world::postgres_url())
        .env("WRIT_POSTGRES_SCHEMA", &world.schema)
        .env("WRIT_IDENTITY_KEYS", world.folder().join("keys"))
        .stdin(Stdio::null());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// Runs to its end. `partitions`: as configured.
pub(crate) async fn run(world: &World, partitions: i32, arguments: &[&str]) -> Ended {
    let output = tokio::time::timeout(LIMIT, command(world, partitions, arguments).output());
    let output = output.await.unwrap_or_else(|_| panic!("{arguments:?} doesn't end")).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Kills it (SIGKILL) once it has printed a line with `mark`. Its lines up to there.
pub(crate) async fn kill_at(world: &World, partitions: i32, arguments: &[&str], mark: &str) -> Vec<String> {
    let mut child = command(world, partitions, arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let found = line.contains(mark);
            seen.push(line);
            if found {
                return;
            }
        }
        panic!("{arguments:?} ended without {mark:?}: {seen:?}");
    };
    tokio::time::timeout(LIMIT, reading).await.unwrap_or_else(|_| panic!("{arguments:?} hangs"));
    child.kill().await.unwrap();
    seen
}

/// A server that is expected to refuse its start.
pub(crate) async fn refused_server(world: &World, partitions: i32) -> Ended {
    let data: PathBuf = world.data(&unique("refused"));
    let data = data.to_str().unwrap();
    run(world, partitions, &["serve", "--listen", "127.0.0.1:0", "--data", data]).await.expect(1)
}
