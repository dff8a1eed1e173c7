//! Apache Kafka: one node, broker and controller in one process (KRaft).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::job::run_to_end;
use crate::ports::loopback;
use crate::prerequisites::Tools;
use crate::process::write_atomically;
use crate::server::Server;
use crate::stack::{Stack, servers};

const PROPERTIES: &str = include_str!("../kafka/server.properties");
const LOG4J: &str = include_str!("../kafka/log4j2.properties");
/// Every stack has a Kafka of its own, so all may have the same id: 16 bytes in base64.
const CLUSTER_ID: &str = "d3JpdC1kZXYtc3RhY2stMQ";

pub(crate) async fn command(stack: &Stack, tools: &Tools) -> Result<Command> {
    let data = stack.data(Server::Kafka);
    let properties = stack.config("kafka.properties");
    let log4j = stack.config("kafka-log4j2.properties");
    write_atomically(&log4j, LOG4J.as_bytes())?;
    // Left by a format that was interrupted.
    let unfinished = data.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    if !data.exists() {
        let unfinished_properties = stack.config("kafka-format.properties");
        write_atomically(&unfinished_properties, configured(stack, &unfinished)?.as_bytes())?;
        let mut format = java(tools);
        format
            .args(["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&unfinished_properties);
        run_to_end(format, "kafka.tools.StorageTool format").await?;
        fs::rename(&unfinished, &data).with_context(|| format!("cannot create {}", data.display()))?;
    }
    write_atomically(&properties, configured(stack, &data)?.as_bytes())?;
    let mut command = java(tools);
    command
        .args([
            "-Xms512m",
            "-Xmx512m",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:+ExitOnOutOfMemoryError",
        ])
        .arg("-Djava.awt.headless=true")
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("kafka.Kafka")
        .arg(&properties);
    Ok(command)
}

/// Java with Kafka's jars. The class path is relative: Java would split an absolute one at a colon in a folder's name.
fn java(tools: &Tools) -> Command {
    let mut command = Command::new(tools.java());
    command.env("CLASSPATH", "libs/*").current_dir(servers().join("kafka"));
    command
}

fn configured(stack: &Stack, data: &Path) -> Result<String> {
    let data = data.to_str().context("the path of the stack's folder is not UTF-8")?;
    if data.contains(',') {
        bail!("Kafka can't keep its data in {data}: it takes the comma as the start of another folder");
    }
    let (listeners, advertised, protocols) = more_listeners(stack)?;
    Ok(PROPERTIES
        .replace("{more_listeners}", &listeners)
        .replace("{more_advertised}", &advertised)
        .replace("{more_protocols}", &protocols)
        .replace("{port}", &stack.ports.kafka.to_string())
        .replace("{controller_port}", &stack.ports.kafka_controller.to_string())
        // A backslash is an escape in properties files.
        .replace("{data}", &data.replace('\\', "\\\\")))
}

/// A listener whose clients are told another port than it has: that of a proxy, which they then can't go around.
#[derive(Debug, Deserialize)]
struct Proxied {
    port: u16,
    advertised: u16,
}

/// What `kafka-listeners.json` in the stack's folder adds to the listeners, what is advertised, and the protocols. The
/// faults harness writes it before the first start, one listener for each process whose network it can break.
fn more_listeners(stack: &Stack) -> Result<(String, String, String)> {
    let path = stack.dir().join("kafka-listeners.json");
    let Ok(content) = fs::read(&path) else { return Ok(Default::default()) };
    let proxied: Vec<Proxied> = serde_json::from_slice(&content)
        .with_context(|| format!("{} is not a list of listeners", path.display()))?;
    let each = |part: &dyn Fn(usize, &Proxied) -> String| {
        proxied.iter().enumerate().map(|(nth, listener)| part(nth, listener)).collect::<String>()
    };
    Ok((
        each(&|nth, listener| format!(",PROXIED{nth}://127.0.0.1:{}", listener.port)),
        each(&|nth, listener| format!(",PROXIED{nth}://127.0.0.1:{}", listener.advertised)),
        each(&|nth, _| format!(",PROXIED{nth}:PLAINTEXT")),
    ))
}

/// Whether the broker that writes this log has joined its cluster.
///
/// It answers before that, by what it knows from its life before: after a kill -9 it leads partitions for some seconds, until
/// its old session ends and the controller takes them away for a moment. A transaction that is ended then loses its
/// markers ("these partitions are likely deleted already and hence can be skipped") and stays open for ever.
pub(crate) fn has_joined(log: &Path) -> Result<()> {
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    if String::from_utf8_lossy(&text).contains("The broker has been unfenced") {
        return Ok(());
    }
    bail!("Kafka has not joined its cluster yet")
}

/// Asks for the versions of the protocol, the first request of every client. The broker answers once it is part of the
/// cluster.
pub(crate) async fn check(port: u16) -> Result<()> {
    // Length, api key 18 (ApiVersions), version 0, correlation id 1, no client id.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut stream = TcpStream::connect(loopback(port)).await?;
    stream.write_all(&REQUEST).await?;
    // Length, correlation id, error code.
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await?;
    match answer {
        [_, _, _, _, 0, 0, 0, 1, 0, 0] => Ok(()),
        [_, _, _, _, 0, 0, 0, 1, high, low] => {
            bail!("Kafka answered with error code {}", i16::from_be_bytes([high, low]))
        }
        _ => bail!("what listens on port {port} doesn't speak Kafka's protocol"),
    }
}
