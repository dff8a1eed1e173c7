//! The processes of the run and the cables between them and the servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::node::{Cables, Node, Role};
use crate::proxy::{Cable, Proxy};
use crate::stack::{Listener, Server, Stack, free_ports};

/// How long the transactions that are being ended get their markers.
const MARKERS: Duration = Duration::from_millis(500);
/// How long the processes may take until all of them work.
const READY_LIMIT: Duration = Duration::from_secs(120);

const SECOND_PROJECTOR: &str = "projector-2";

/// Two of each role, and a third decider that only rebalances start.
const NODES: [(Role, &str); 7] = [
    (Role::Api, "api-1"),
    (Role::Api, "api-2"),
    (Role::Decider, "decider-1"),
    (Role::Decider, "decider-2"),
    (Role::Projector, "projector-1"),
    (Role::Projector, SECOND_PROJECTOR),
    (Role::Decider, "decider-extra"),
];

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) stack: Stack,
    nodes: Vec<Node>,
    extra: Node,
    /// Processes that ended by themselves, with their status.
    ended: Mutex<Vec<String>>,
}

impl Cluster {
    /// Starts the servers, the proxies and the processes, and waits until all work. After an error the servers may run.
    /// `one_projector`: there is no second one that could take over.
    pub(crate) async fn start(
        infra: &Path,
        writ: &Path,
        models: &Path,
        dir: &Path,
        one_projector: bool,
    ) -> Result<Self> {
        let wanted = NODES.into_iter().filter(|(_, name)| !(one_projector && *name == SECOND_PROJECTOR));
        let wanted: Vec<(Role, &str)> = wanted.collect();
        // For each process: Kafka's listener, three proxies, HTTP.
        let ports = free_ports(wanted.len() * 5);
        let ports: Vec<&[u16]> = ports.chunks(5).collect();
        let listeners: Vec<_> =
            ports.iter().map(|ports| Listener { port: ports[0], advertised: ports[1] }).collect();
        let mut stack = Stack::new(infra, dir);
        stack.start(&listeners).await.context("the servers don't start")?;
        let mut nodes = Vec::new();
        for ((role, name), ports) in wanted.into_iter().zip(ports) {
            let proxy = async |port, target| {
                Proxy::start(port, target).await.with_context(|| format!("no proxy on port {port}"))
            };
            let cables = Cables {
                kafka: proxy(ports[1], ports[0]).await?,
                registry: proxy(ports[2], stack.ports.registry).await?,
                postgres: proxy(ports[3], stack.ports.postgres).await?,
                redis: stack.ports.redis,
            };
            let files = (writ.to_owned(), models.to_owned(), dir.to_owned());
            nodes.push(Node::new(name.to_owned(), role, ports[4], cables, files));
        }
        let extra = nodes.pop().expect("invariant: the list of processes is not empty");
        let cluster = Self { stack, nodes, extra, ended: Mutex::default() };
        cluster.start_nodes().await?;
        Ok(cluster)
    }

    async fn start_nodes(&self) -> Result<()> {
        for node in &self.nodes {
            node.start().await?;
        }
        let deadline = Instant::now() + READY_LIMIT;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        for address in self.apis() {
            let url = format!("http://{address}/readyz");
            while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                if Instant::now() > deadline {
                    bail!("the api at {address} isn't ready after {} seconds", READY_LIMIT.as_secs());
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// `host:port` of each api.
    pub(crate) fn apis(&self) -> Vec<String> {
        let apis = self.nodes.iter().filter(|node| node.role == Role::Api);
        apis.map(|node| format!("127.0.0.1:{}", node.port)).collect()
    }

    /// The processes of a role, without the extra decider.
    pub(crate) fn of(&self, role: Role) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.role == role).collect()
    }

    /// Every process but the extra decider.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The decider that joins and leaves.
    pub(crate) fn extra(&self) -> &Node {
        &self.extra
    }

    /// Starts again what ended by itself, as a supervisor would, and remembers it.
    pub(crate) async fn supervise(&self) -> Result<()> {
        loop {
            sleep(Duration::from_millis(500)).await;
            for node in &self.nodes {
                if let Some(status) = node.ended().await {
                    self.ended.lock().push(format!("{} ended by itself ({status})", node.name));
                    node.start().await?;
                }
            }
        }
    }

    /// What ended by itself so far.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.ended.lock().clone()
    }

    /// Kills all processes, closes the cables, kills the servers.
    pub(crate) async fn kill(&self) -> Result<()> {
        let mut first_error = Ok(());
        for node in self.nodes.iter().chain([&self.extra]) {
            let killed = node.kill().await;
            first_error = first_error.and(killed);
            for proxy in Self::cables(node) {
                proxy.stop().await;
            }
        }
        first_error.and(self.stack.kill().await)
    }

    fn cables(node: &Node) -> [&Arc<Proxy>; 3] {
        [&node.cables.kafka, &node.cables.registry, &node.cables.postgres]
    }

    /// Stops or kills Kafka, and starts it again once `away` has passed. Its clients are cut off until it has joined its
    /// cluster, and before an orderly stop: a broker without another one beside it loses the markers of transactions that are
    /// ended in between (`has_joined` in `infra/src/kafka.rs`), which is not what this is to find out.
    pub(crate) async fn restart_kafka(&self, orderly: bool, away: Duration) -> Result<()> {
        if orderly {
            self.set_kafka(Cable::Cut);
            sleep(MARKERS).await;
            self.stack.stop_server(Server::Kafka).await?;
        } else {
            self.stack.kill_server(Server::Kafka).await?;
            self.set_kafka(Cable::Cut);
        }
        sleep(away).await;
        self.stack.start_server(Server::Kafka).await?;
        self.set_kafka(Cable::Whole);
        Ok(())
    }

    fn set_kafka(&self, cable: Cable) {
        for node in self.nodes.iter().chain([&self.extra]) {
            node.cables.kafka.set(cable);
        }
    }

    /// Stops everything at once, servers too, and starts it again.
    pub(crate) async fn restart_everything(&self) -> Result<()> {
        for node in &self.nodes {
            node.kill().await?;
        }
        for server in Server::ALL {
            self.stack.kill_server(server).await?;
        }
        for server in Server::ALL {
            self.stack.start_server(server).await?;
        }
        for node in &self.nodes {
            node.start().await?;
        }
        Ok(())
    }
}
