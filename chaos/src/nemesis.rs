//! Breaks things on purpose, one after another, sometimes two at once; heals them; waits until all clients are served.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::history::{FaultRecord, Recorder};
use crate::node::{Node, Role};
use crate::proxy::Cable;
use crate::stack::Server;

/// A paused process is away for longer than the session timeout of the consumer groups, 6 seconds.
const PAUSE: Duration = Duration::from_millis(7500);
/// Clients that aren't served this long after the last heal are not going to be.
const RECOVERY_LIMIT: Duration = Duration::from_secs(90);
/// The part of the faults that have another one beside them.
const OVERLAPS: f64 = 0.25;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill(Role),
    Pause(Role),
    Restart(Server),
    KillServer(Server),
    StopEverything,
    Kafka(Wire, Role),
    Postgres(Wire, Role),
    Rebalances,
}

/// What is wrong with a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Slow,
    Cut,
    Hanging,
}

impl Fault {
    /// Every kind. The first half are those that a short run must not leave out.
    const ALL: [(Self, &'static str); 25] = {
        use Fault::{Kafka, Kill, KillServer, Pause, Postgres, Rebalances, Restart, StopEverything};
        [
            (Kill(Role::Decider), "kill a decider"),
            (Pause(Role::Decider), "pause a decider"),
            (Restart(Server::Kafka), "restart Kafka"),
            (Kafka(Wire::Cut, Role::Decider), "cut decider from Kafka"),
            (Rebalances, "rebalances"),
            (Kill(Role::Projector), "kill a projector"),
            (KillServer(Server::Kafka), "kill Kafka"),
            (Kill(Role::Decider), "kill a decider"),
            (Kafka(Wire::Hanging, Role::Decider), "hang decider from Kafka"),
            (KillServer(Server::Postgres), "kill PostgreSQL"),
            (Kill(Role::Api), "kill an api"),
            (StopEverything, "stop everything"),
            (Pause(Role::Projector), "pause a projector"),
            (Pause(Role::Api), "pause an api"),
            (Restart(Server::Postgres), "restart PostgreSQL"),
            (Restart(Server::Redis), "restart Redis"),
            (Restart(Server::Registry), "restart the registry"),
            (KillServer(Server::Registry), "kill the registry"),
            (Kafka(Wire::Slow, Role::Decider), "slow decider to Kafka"),
            (Kafka(Wire::Cut, Role::Api), "cut api from Kafka"),
            (Kafka(Wire::Hanging, Role::Projector), "hang projector from Kafka"),
            (Kafka(Wire::Slow, Role::Api), "slow api to Kafka"),
            (Postgres(Wire::Cut, Role::Projector), "cut projector from PostgreSQL"),
            (Postgres(Wire::Hanging, Role::Projector), "hang projector from PostgreSQL"),
            (Postgres(Wire::Slow, Role::Projector), "slow projector to PostgreSQL"),
        ]
    };

    /// Whether the two may happen at once: they don't start or stop the same thing.
    fn goes_with(self, other: Self) -> bool {
        self.touches().iter().all(|part| !other.touches().contains(part))
    }

    fn touches(self) -> Vec<&'static str> {
        match self {
            Self::Kill(role) | Self::Pause(role) | Self::Postgres(_, role) => vec![role.name()],
            // A cable that heals must not lead to a Kafka that isn't there yet.
            Self::Kafka(_, role) => vec![role.name(), "kafka"],
            Self::Restart(server) | Self::KillServer(server) => vec![server.name()],
            Self::Rebalances => vec!["extra"],
            Self::StopEverything => {
                vec!["api", "decider", "projector", "kafka", "registry", "postgres", "redis", "extra"]
            }
        }
    }
}

/// The nemesis with its random numbers.
#[derive(Debug)]
pub(crate) struct Nemesis {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) rng: ChaCha8Rng,
    /// Only faults whose name contains one of these texts; empty: all.
    pub(crate) only: Vec<String>,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    pub(crate) faults: Vec<FaultRecord>,
    /// Faults after which clients weren't served again.
    pub(crate) stuck: Vec<String>,
}

impl Nemesis {
    /// Breaks things for as long as `time` says. What it broke last is healed when it returns.
    ///
    /// # Errors
    /// A server or a process can't be started again.
    pub(crate) async fn run(mut self, time: Duration) -> Result<Damage> {
        let deadline = Instant::now() + time;
        let mut damage = Damage::default();
        let mut deck: Vec<(Fault, &'static str)> = Vec::new();
        let mut dealt = 0;
        while Instant::now() < deadline {
            if deck.is_empty() {
                deck = self.shuffled(dealt == 0);
            }
            let Some(first) = deck.pop() else { break };
            dealt += 1;
            let second = match self.rng.random_bool(OVERLAPS) {
                true => deck.iter().rposition(|(fault, _)| fault.goes_with(first.0)),
                false => None,
            };
            let second = second.map(|nth| deck.remove(nth));
            self.hit(first, second, &mut damage).await?;
            let quiet = Duration::from_millis(self.rng.random_range(500..2500));
            sleep(quiet).await;
        }
        Ok(damage)
    }

    /// The kinds in random order, to be taken from the end. The first time those come first that matter most.
    fn shuffled(&mut self, first: bool) -> Vec<(Fault, &'static str)> {
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|part| name.contains(part));
        let mut deck: Vec<_> = Fault::ALL.into_iter().filter(|(_, name)| wanted(name)).collect();
        deck.reverse();
        let half = if first { deck.len() / 2 } else { 0 };
        deck[..half].shuffle(&mut self.rng);
        deck[half..].shuffle(&mut self.rng);
        deck
    }

    async fn hit(
        &mut self,
        first: (Fault, &'static str),
        second: Option<(Fault, &'static str)>,
        damage: &mut Damage,
    ) -> Result<()> {
        let began = self.recorder.now();
        let names: Vec<_> = [Some(first), second].into_iter().flatten().map(|(_, name)| name).collect();
        eprintln!("{:>7.1} s  {}", began as f64 / 1e6, names.join(" + "));
        let hold = Duration::from_millis(self.rng.random_range(2000..9000));
        let (one, two) = (self.rng.random(), self.rng.random());
        let later = Duration::from_millis(self.rng.random_range(0..3000));
        let both = async {
            let second = async {
                let Some((fault, name)) = second else { return Ok(()) };
                sleep(later).await;
                self.inject(fault, two, hold).await.with_context(|| format!("while: {name}"))
            };
            let first = async {
                self.inject(first.0, one, hold).await.with_context(|| format!("while: {}", first.1))
            };
            tokio::try_join!(first, second)
        };
        both.await?;
        let healed = self.recorder.now();
        if !self.recovers().await {
            damage.stuck.push(format!(
                "after {}: not every client was served within {} s",
                names.join(" + "),
                RECOVERY_LIMIT.as_secs()
            ));
        }
        let recovered = self.recorder.now();
        damage.faults.extend(names.iter().map(|kind| FaultRecord {
            kind,
            began,
            healed,
            recovered,
            overlapped: names.len() > 1,
        }));
        Ok(())
    }

    /// Waits until every client has finished a command that it began after now.
    async fn recovers(&self) -> bool {
        let before = self.recorder.completed();
        let deadline = Instant::now() + RECOVERY_LIMIT;
        while Instant::now() < deadline {
            let now = self.recorder.completed();
            // The first may have been under way already.
            if now.iter().zip(&before).all(|(now, before)| *now >= before + 2) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Breaks, waits, heals. `chosen` decides which of several processes; `hold` is how long a cable is broken.
    async fn inject(&self, fault: Fault, chosen: u32, hold: Duration) -> Result<()> {
        let cluster = &self.cluster;
        let node = |role| -> &Node {
            let nodes = cluster.of(role);
            nodes[chosen as usize % nodes.len()]
        };
        match fault {
            Fault::Kill(role) => {
                node(role).kill().await?;
                // Long enough that a successor takes over, sometimes; else it is the one who comes back.
                let back_at_once = chosen & 0x100 != 0;
                sleep(if back_at_once { Duration::from_millis(200) } else { hold.max(PAUSE) }).await;
                node(role).start().await
            }
            Fault::Pause(role) => {
                node(role).pause().await?;
                sleep(PAUSE).await;
                node(role).go_on().await
            }
            Fault::Restart(Server::Kafka) => cluster.restart_kafka(true, hold / 4).await,
            Fault::KillServer(Server::Kafka) => cluster.restart_kafka(false, hold / 4).await,
            Fault::Restart(server) => {
                cluster.stack.stop_server(server).await?;
                sleep(hold / 4).await;
                cluster.stack.start_server(server).await
            }
            Fault::KillServer(server) => {
                cluster.stack.kill_server(server).await?;
                sleep(hold / 4).await;
                cluster.stack.start_server(server).await
            }
            Fault::StopEverything => cluster.restart_everything().await,
            Fault::Kafka(wire, role) => {
                let proxy = &node(role).cables.kafka;
                proxy.set(wire.cable(chosen));
                sleep(hold).await;
                proxy.set(Cable::Whole);
                Ok(())
            }
            Fault::Postgres(wire, role) => {
                let proxy = &node(role).cables.postgres;
                proxy.set(wire.cable(chosen));
                sleep(hold).await;
                proxy.set(Cable::Whole);
                Ok(())
            }
            Fault::Rebalances => {
                for _ in 0..3 {
                    cluster.extra().start().await?;
                    sleep(Duration::from_secs(3)).await;
                    // With a goodbye to the group, which makes it share out the partitions at once.
                    cluster.extra().stop().await?;
                    sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
        }
    }
}

impl Wire {
    fn cable(self, chosen: u32) -> Cable {
        match self {
            Self::Slow => Cable::Slow(Duration::from_millis(u64::from(50 + chosen % 200))),
            Self::Cut => Cable::Cut,
            Self::Hanging => Cable::Hanging,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_with_a_full_stop_or_with_itself() {
        for (fault, name) in Fault::ALL {
            assert!(!fault.goes_with(Fault::StopEverything), "{name}");
            assert!(!fault.goes_with(fault), "{name}");
        }
        assert!(Fault::Kill(Role::Decider).goes_with(Fault::Restart(Server::Kafka)));
    }
}
