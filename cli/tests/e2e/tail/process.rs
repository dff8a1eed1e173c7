//! A running `writ tail`: its lines, what it says beside them, and how it ends.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::harness::server::writ;
use crate::harness::{LIMIT, World, eventually};

/// A running `writ tail`. Killed on drop.
pub(super) struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it wrote to standard error so far.
    pub(super) said: Arc<Mutex<String>>,
    listening: JoinHandle<()>,
}

impl Tail {
    pub(super) fn start(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Tail {
        let mut child = command(world, arguments, variables).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (said, listening) = listen(&mut child);
        Tail { child, lines, said, listening }
    }

    /// With the server's address. Returns when it follows.
    pub(super) async fn following(world: &World, base: &str, arguments: &[&str]) -> Tail {
        let tail = Tail::start(world, &[arguments, &["--url", base]].concat(), &[]);
        tail.says("Following").await;
        tail
    }

    pub(super) async fn says(&self, what: &str) {
        says(&self.said, what).await;
    }

    /// The next line of standard output.
    pub(super) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no line; it said: {}", self.said.lock().unwrap()));
        line.unwrap().unwrap_or_else(|| panic!("no more lines; it said: {}", self.said.lock().unwrap()))
    }

    /// The next line of `--format json` that is a change.
    pub(super) async fn change(&mut self) -> Value {
        loop {
            let message: Value = serde_json::from_str(&self.line().await).unwrap();
            if ["enter", "change", "leave"].contains(&message["type"].as_str().unwrap()) {
                return message;
            }
        }
    }

    pub(super) fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for its end: the status, the lines that are left, and what it said.
    pub(super) async fn ended(mut self) -> (ExitStatus, Vec<String>, String) {
        let mut rest = Vec::new();
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                rest.push(line);
            }
            self.listening.await.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(LIMIT, reading).await.expect("it ends");
        let said = self.said.lock().unwrap().clone();
        (status, rest, said)
    }

    /// Waits for its end without taking any of its lines: the exit code.
    pub(super) async fn ends_unread(mut self) -> Option<i32> {
        tokio::time::timeout(LIMIT, self.child.wait()).await.expect("it ends").unwrap().code()
    }

    /// Its end, with that exit code: what it said, with single spaces.
    pub(super) async fn fails(self, code: i32) -> String {
        let (status, rest, said) = self.ended().await;
        assert_eq!((status.code(), rest.as_slice()), (Some(code), [].as_slice()), "{said}");
        let words: Vec<_> = said.split_whitespace().filter(|word| *word != "│").collect();
        // Lines may be broken within `sign-in` too.
        words.join(" ").replace("- ", "-")
    }
}

pub(super) fn command(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = writ();
    command.current_dir(world.folder()).arg("tail").args(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

pub(super) fn listen(child: &mut Child) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = Arc::new(Mutex::new(String::new()));
    let heard = said.clone();
    let listening = tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut said = heard.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
    (said, listening)
}

pub(super) async fn says(said: &Mutex<String>, what: &str) {
    eventually(&format!("it says {what:?}"), async || said.lock().unwrap().contains(what).then_some(()))
        .await;
}
