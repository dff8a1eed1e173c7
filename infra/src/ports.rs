//! The ports of a stack: chosen once, then kept until a flag says otherwise.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

/// Where free ports are looked for: below the range from which Linux and macOS take ports for outgoing connections, so
/// that none of those takes a port away between two starts.
const FREE_RANGE: std::ops::Range<u16> = 20_000..32_000;

/// The port of each server, on the loopback interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) kafka: u16,
    /// Kafka's controller; nobody but Kafka itself connects to it.
    pub(crate) kafka_controller: u16,
    pub(crate) registry: u16,
    pub(crate) postgres: u16,
    pub(crate) redis: u16,
}

impl Ports {
    fn all(&self) -> [u16; 6] {
        let Self { http, kafka, kafka_controller, registry, postgres, redis } = *self;
        [http, kafka, kafka_controller, registry, postgres, redis]
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self { http: 8080, kafka: 9092, kafka_controller: 19092, registry: 8081, postgres: 5432, redis: 6379 }
    }
}

/// The flags that choose ports.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PortFlags {
    /// Take free ports instead of the usual ones, to run beside another stack. Ports named by other flags stay.
    #[arg(long)]
    pub(crate) free_ports: bool,
    /// Port of the HTTP API [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// Port of Kafka [default: 9092]
    #[arg(long, value_name = "PORT")]
    pub(crate) kafka_port: Option<u16>,
    /// Port of Kafka's controller, used by Kafka alone [default: 19092]
    #[arg(long, value_name = "PORT")]
    pub(crate) kafka_controller_port: Option<u16>,
    /// Port of the schema registry [default: 8081]
    #[arg(long, value_name = "PORT")]
    pub(crate) registry_port: Option<u16>,
    /// Port of PostgreSQL [default: 5432]
    #[arg(long, value_name = "PORT")]
    pub(crate) postgres_port: Option<u16>,
    /// Port of Redis [default: 6379]
    #[arg(long, value_name = "PORT")]
    pub(crate) redis_port: Option<u16>,
}

impl PortFlags {
    /// Chooses the ports: a flag, else what the stack had the last time, else a free one or the usual one.
    ///
    /// With `--free-ports`, `usable` tells for a port of the last time whether the stack can have it again: it is free, or
    /// the stack itself holds it.
    pub(crate) fn choose(&self, last: Option<Ports>, usable: impl Fn(u16) -> bool) -> Ports {
        let usual = Ports::default();
        let named: BTreeSet<u16> = self.named().into_iter().flatten().collect();
        // What the stack had stays reserved for the server that had it.
        let mut taken: BTreeSet<u16> =
            last.iter().flat_map(Ports::all).chain(named.iter().copied()).collect();
        // A random beginning, so that two stacks that are started at once don't find the same ports free.
        let random = RandomState::new().build_hasher().finish();
        let skipped =
            usize::try_from(random % FREE_RANGE.len() as u64).expect("less than the length of a range");
        let mut candidates = FREE_RANGE.skip(skipped).chain(FREE_RANGE);
        let mut choose = |flag: Option<u16>, port: fn(&Ports) -> u16| {
            let last = last.as_ref().map(port);
            match (flag, last) {
                (Some(port), _) => port,
                (None, Some(port)) if !self.free_ports => port,
                (None, None) if !self.free_ports => port(&usual),
                (None, Some(port)) if usable(port) && !named.contains(&port) => port,
                // With every port of the range taken, the usual one gives the error that says so.
                (None, _) => candidates
                    .find(|&candidate| is_free(candidate) && taken.insert(candidate))
                    .unwrap_or_else(|| port(&usual)),
            }
        };
        Ports {
            http: choose(self.http_port, |ports| ports.http),
            kafka: choose(self.kafka_port, |ports| ports.kafka),
            kafka_controller: choose(self.kafka_controller_port, |ports| ports.kafka_controller),
            registry: choose(self.registry_port, |ports| ports.registry),
            postgres: choose(self.postgres_port, |ports| ports.postgres),
            redis: choose(self.redis_port, |ports| ports.redis),
        }
    }

    fn named(&self) -> [Option<u16>; 6] {
        [
            self.http_port,
            self.kafka_port,
            self.kafka_controller_port,
            self.registry_port,
            self.postgres_port,
            self.redis_port,
        ]
    }
}

/// Whether a server could listen on `port` of the loopback interface now.
pub(crate) fn is_free(port: u16) -> bool {
    // Where a wildcard listener doesn't stop a second one on the loopback address (macOS), it answers a connect. First the
    // connect: a process that is started by another thread meanwhile keeps our listener open until its `exec`.
    !answers(port) && TcpListener::bind(loopback(port)).is_ok()
}

/// Whether anything accepts connections on `port`.
pub(crate) fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&loopback(port).into(), Duration::from_millis(500)).is_ok()
}

/// `127.0.0.1:port`.
pub(crate) fn loopback(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ports: Ports) -> BTreeSet<u16> {
        ports.all().into()
    }

    #[test]
    fn without_flags_a_new_stack_takes_the_usual_ports_and_an_old_one_keeps_its_own() {
        assert_eq!(PortFlags::default().choose(None, |_| true), Ports::default());
        let last = Ports { kafka: 1, redis: 2, ..Ports::default() };
        assert_eq!(PortFlags::default().choose(Some(last), |_| false), last);
    }

    #[test]
    fn a_flag_is_stronger_than_what_the_stack_had() {
        let flags = PortFlags { kafka_port: Some(7), ..PortFlags::default() };
        let last = Ports { kafka: 1, redis: 2, ..Ports::default() };
        assert_eq!(flags.choose(Some(last), |_| true), Ports { kafka: 7, ..last });
    }

    #[test]
    fn free_ports_are_free_and_distinct() {
        let flags = PortFlags { free_ports: true, redis_port: Some(6379), ..PortFlags::default() };
        let ports = flags.choose(None, |_| true);
        assert_eq!(ports.redis, 6379);
        assert_eq!(all(ports).len(), 6);
        let chosen: Vec<u16> = all(ports).into_iter().filter(|port| *port != 6379).collect();
        assert!(chosen.iter().all(|port| FREE_RANGE.contains(port) && is_free(*port)));
    }

    #[test]
    fn free_ports_are_kept_while_they_can_be_had() {
        let flags = PortFlags { free_ports: true, ..PortFlags::default() };
        let last = flags.choose(None, |_| true);
        assert_eq!(flags.choose(Some(last), |_| true), last);
        let next = flags.choose(Some(last), |port| port != last.kafka);
        assert_ne!(next.kafka, last.kafka);
        assert_eq!(Ports { kafka: last.kafka, ..next }, last);
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert!(answers(port));
    }
}
