//! The workload: clients in closed loops, each with random numbers of its own, all from the seed.

mod client;
mod members;
mod purses;
mod registers;
mod zipf;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::history::Recorder;

pub(crate) use client::Client;
use members::Members;
use purses::Purses;
use registers::Registers;

/// The numbers of who opens the first purses, and of who comes last.
const OPENER: u64 = u64::MAX;
const LAST: u64 = u64::MAX - 1;

/// What the clients share: which aggregates there are, and what answers said about them. Never the read side.
#[derive(Debug)]
struct World {
    purses: Purses,
    registers: Registers,
    members: Members,
}

/// A running workload.
#[derive(Debug)]
pub(crate) struct Workload {
    world: Arc<World>,
    clients: JoinSet<()>,
    recorder: Arc<Recorder>,
    apis: Vec<String>,
    seed: u64,
    /// Repeats end, known or not.
    give_up: CancellationToken,
}

impl Workload {
    /// Opens the purses, then lets `count` clients loose.
    pub(crate) async fn start(
        apis: Vec<String>,
        count: usize,
        pause: Duration,
        seed: u64,
        recorder: Arc<Recorder>,
    ) -> Result<Self> {
        let give_up = CancellationToken::new();
        let world =
            Arc::new(World { purses: Purses, registers: Registers::default(), members: Members::default() });
        let client = |nth, stream| {
            let rng = numbers(seed, stream);
            Client::new(nth, apis.clone(), rng, recorder.clone(), give_up.clone()).context("no HTTP client")
        };
        let mut opener = client(0, OPENER)?;
        world.purses.open_all(&mut opener).await?;
        let mut clients = JoinSet::new();
        for nth in 0..count {
            let (mut client, world) = (client(nth, nth as u64)?, world.clone());
            clients.spawn(async move {
                while !client.recorder.is_stopped() {
                    step(&world, &mut client).await;
                    let wait = client.rng.random_range(0.0..2.0);
                    tokio::time::sleep(pause.mul_f64(wait)).await;
                }
            });
        }
        Ok(Self { world, clients, recorder, apis, seed, give_up })
    }

    /// Lets every client finish what it began, for at most `limit`, then frees values and takes them again.
    pub(crate) async fn finish(mut self, limit: Duration) -> Result<()> {
        self.recorder.stop();
        let give_up = self.give_up.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            give_up.cancel();
        });
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client panicked")?;
        }
        let rng = numbers(self.seed, LAST);
        if !self.give_up.is_cancelled() {
            let mut last = Client::new(0, self.apis, rng, self.recorder, self.give_up)?;
            self.world.members.take_freed(&mut last).await;
        }
        timer.abort();
        Ok(())
    }
}

/// Random numbers of their own for each client: two with the same would send the same names.
fn numbers(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// One thing that a client does: one command, or the two of a transfer. Two in a hundred are conflicts on purpose; others come
/// from the skew.
async fn step(world: &World, client: &mut Client) {
    match client.rng.random_range(0..100) {
        0..26 => world.purses.transfer(client).await,
        26..40 => world.purses.deposit(client, false).await,
        40..46 => world.purses.deposit(client, true).await,
        46..52 => world.purses.open(client).await,
        52..54 => world.purses.conflict(client).await,
        54..84 => world.registers.step(client).await,
        _ => world.members.step(client).await,
    }
}
