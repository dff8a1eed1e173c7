//! `cargo dev bench restart`: a decider with many aggregates. How long it takes to be ready, with and without its state
//! store, how many records a second it restores, and how much memory it needs meanwhile.
//!
//! The aggregates are made by writing their states to `writ.state` of a topic prefix of its own, as a decider would have
//! left them; making them by commands would take an hour. Topics and data are deleted at the end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::connection::{Ask, Connection};
use crate::server::{Phase, Server, Setup};
use crate::target::{self, workspace};
use states::States;

mod states;

/// The model whose aggregates are made. It has no references, so no read model is needed to decide.
const MODEL: &str = "customer";

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: target::Flags,
    /// Number of aggregates
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    aggregates: u64,
    /// Partitions of the topics
    #[arg(long, default_value_t = 24)]
    partitions: i32,
    /// How long random commands are sent
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Connections that send them
    #[arg(long, default_value_t = 64)]
    connections: u16,
    /// Where the deciders keep their data [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the benchmark.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let brokers = options.target.target()?.brokers;
    let nonce = Uuid::new_v4().as_fields().0;
    let dir =
        options.dir.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("writ-bench-{nonce:08x}")));
    std::fs::create_dir_all(&dir).with_context(|| format!("{} can't be made", dir.display()))?;
    let states = Arc::new(States::new(&brokers, &format!("bench-{nonce:08x}"), options.partitions)?);
    let result = measure(options, &states, &dir).await;
    states.delete().await?;
    std::fs::remove_dir_all(&dir).with_context(|| format!("{} can't be deleted", dir.display()))?;
    result.map(|()| ExitCode::SUCCESS)
}

async fn measure(options: &Options, states: &Arc<States>, dir: &Path) -> Result<()> {
    let (aggregates, started) = (options.aggregates, Instant::now());
    states.create_topics().await?;
    let filled = states.clone();
    let bytes = tokio::task::spawn_blocking(move || filled.fill(aggregates)).await??;
    println!(
        "{aggregates} states of {} bytes in {} partitions, written in {:.1} s\n",
        bytes / aggregates,
        options.partitions,
        started.elapsed().as_secs_f64()
    );
    println!("| phase | seconds | records/s | RSS most MiB | RSS end MiB |");
    println!("|---|---|---|---|---|");

    let setup = Setup {
        dir: dir.to_owned(),
        models: workspace().join("models"),
        kafka: states.kafka.clone(),
        schema: None,
        settings: Vec::new(),
    };
    let mut server = Server::start(&setup, "first", "api,decider")?;
    let restore = server.until_ready("decider").await?;
    restore.print("restore from the topic", Some(aggregates));

    let load = random_commands(&mut server, options, states).await?;
    load.0.print(&format!("{} commands on random aggregates", load.1), None);

    let stop = server.terminate().await?;
    println!("| clean stop | {stop:.2} | | | |");
    let mut server = Server::start(&setup, "first", "api,decider")?;
    server.until_ready("decider").await?.print("restart after a clean stop", None);
    server.kill().await?;
    let mut server = Server::start(&setup, "first", "api,decider")?;
    server.until_ready("decider").await?.print("restart after kill -9", None);

    // A second decider takes half of the partitions, on an empty store; then it goes again.
    let mut second = Server::start(&setup, "second", "decider")?;
    second.until_taken_over(1).await?;
    server.until_taken_over(2).await?;
    second.terminate().await?;
    server.until_taken_over(3).await?;
    println!("\nTake-overs as the deciders logged them:");
    for server in [&server, &second] {
        for line in server.take_overs()? {
            println!("- {line}");
        }
    }
    server.terminate().await?;
    Ok(())
}

/// Updates random aggregates for a while. Also how many commands were committed.
async fn random_commands(
    server: &mut Server,
    options: &Options,
    states: &Arc<States>,
) -> Result<(Phase, u64)> {
    let (over, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for number in 0..options.connections {
        let (over, committed, states) = (over.clone(), committed.clone(), states.clone());
        let (address, aggregates) = (server.address.clone(), options.aggregates);
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let mut random = u64::from(number) + 1;
            while !over.load(Ordering::Relaxed) {
                // Marsaglia's xorshift: any spread over the aggregates will do.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let code = states.code(random % aggregates);
                let body = json!({ "city": format!("City {}", random % 1_000) }).to_string();
                let answer = connection.send(Ask::post(format!("/v1/{MODEL}/{code}/update"), body)).await?;
                if answer.status != 200 {
                    bail!(
                        "update of {code} answered {}: {}",
                        answer.status,
                        String::from_utf8_lossy(&answer.body)
                    );
                }
                committed.fetch_add(1, Ordering::Relaxed);
            }
            connection.close().await;
            Ok(())
        }));
    }
    let phase = server.watch(Duration::from_secs(options.seconds)).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    Ok((phase, committed.load(Ordering::Relaxed)))
}
