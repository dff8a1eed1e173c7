//! `--kills N`: `kill -9` of the only projector, again and again, under load.
//!
//! The moments are random. Some count from the start of the process, when it makes its tables, joins its group or builds
//! something anew; most count from its first transaction, so that they fall into catching up and into the steady state: a
//! killed member's partitions wait for the session timeout of its group, so without that nearly all kills would come
//! before any work. Now and then a rebuild is asked for, so that builds are killed too and have to go on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::history::{FaultRecord, Recorder};
use crate::nemesis::Damage;
use crate::node::{Node, Role};
use crate::tables;

const KIND: &str = "kill the projector";
/// When a kill comes, after the start or after the first transaction.
const MOMENT: std::ops::Range<f64> = 0.05..3.0;
/// The part of the kills that count from the start.
const AT_START: f64 = 0.3;
/// A rebuild is asked for before each kill with such a number.
const REBUILD_EVERY: u32 = 8;
/// What is built anew, in turn.
const REBUILT: [&str; 4] = ["flow", "purse", "event_log", "activity"];
/// A projector that does nothing for so long is not going to: many times the session timeout of its group.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// The killer with its random numbers.
#[derive(Debug)]
pub(crate) struct Kills {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) count: u32,
}

impl Kills {
    /// Kills so many times. The projector works when it returns.
    ///
    /// # Errors
    /// The process can't be started again, or PostgreSQL doesn't answer.
    pub(crate) async fn run(mut self) -> Result<Damage> {
        let mut damage = Damage::default();
        let cluster = self.cluster.clone();
        let projector = *cluster.of(Role::Projector).first().context("the cluster has a projector")?;
        let mut postgres = tables::connect(cluster.stack.ports.postgres).await?;
        // The first one is killed in the steady state, whatever its moment.
        works(&mut postgres).await?;
        for nth in 0..self.count {
            let from_start = self.rng.random_bool(AT_START);
            let moment = Duration::from_secs_f64(self.rng.random_range(MOMENT));
            if nth % REBUILD_EVERY == REBUILD_EVERY - 1 {
                let name = REBUILT[(nth / REBUILD_EVERY) as usize % REBUILT.len()];
                projector.tool(&["rebuild", name, "--detach"]).await?;
            }
            if !from_start && !works(&mut postgres).await? {
                damage.stuck.push(format!("kill {nth}: the projector did nothing for {PATIENCE:?}"));
            }
            sleep(moment).await;
            damage.faults.push(self.kill(nth, projector, from_start, moment).await?);
        }
        if !works(&mut postgres).await? {
            damage.stuck.push(format!("after the last kill: the projector did nothing for {PATIENCE:?}"));
        }
        Ok(damage)
    }

    async fn kill(
        &self,
        nth: u32,
        projector: &Node,
        from_start: bool,
        moment: Duration,
    ) -> Result<FaultRecord> {
        let began = self.recorder.now();
        let since = if from_start { "its start" } else { "its first transaction" };
        eprintln!(
            "{:>7.1} s  kill {} {:.2} s after {since}",
            began as f64 / 1e6,
            nth + 1,
            moment.as_secs_f64()
        );
        projector.kill().await?;
        projector.start().await?;
        let healed = self.recorder.now();
        Ok(FaultRecord { kind: KIND, began, healed, recovered: healed, overlapped: false })
    }
}

/// Waits for a transaction that moves a place. `false`: there was none.
async fn works(postgres: &mut PgConnection) -> Result<bool> {
    let before = tables::places(postgres).await?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if tables::places(postgres).await? != before {
            return Ok(true);
        }
        sleep(LOOK).await;
    }
    Ok(false)
}
