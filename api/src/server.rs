//! Listens, serves connections, and stops: no new ones, the open ones finish their request, after a limit they are cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{Api, App};
use crate::client_address::Peer;
use crate::connection::Protocol;
use crate::cors;
use crate::options::Options;
use crate::per_address::{PerAddress, Place};
use crate::router;
use crate::tls::{self, Tls};

/// Pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the HTTP interface can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `http.listen` is no address.
    #[error("http.listen: `{listen}` is not an address; write it as host:port, such as 127.0.0.1:8080")]
    Address {
        /// As configured.
        listen: String,
        /// What the resolver says.
        #[source]
        source: std::io::Error,
    },
    /// `http.listen` would let other machines into an open server.
    #[error(
        "http.listen: {address} can be reached from other machines, and with http.open whoever reaches the port may do \
         everything. Listen on 127.0.0.1 or [::1], or leave http.open out, so that clients sign in"
    )]
    OpenNotLoopback {
        /// As resolved.
        address: SocketAddr,
    },
    /// An origin of `http.cors.origins` is none.
    #[error(transparent)]
    Cors(#[from] cors::Error),
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The port is taken or not allowed.
    #[error(
        "can't listen on {address}; is another server running there? Choose another port with --listen or http.listen"
    )]
    Bind {
        /// As resolved.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// A bound address, not served yet: connections queue up in the kernel until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    options: Options,
}

impl Server {
    /// Reads the certificate, if there is one, and binds `options.listen`.
    pub async fn bind(options: Options) -> Result<Server, Error> {
        let listen = &options.listen;
        let unusable = |source| Error::Address { listen: listen.clone(), source };
        let addresses: Vec<_> = tokio::net::lookup_host(listen).await.map_err(unusable)?.collect();
        let Some(&address) = addresses.first() else {
            return Err(unusable(std::io::ErrorKind::NotFound.into()));
        };
        let reachable = addresses.iter().find(|address| !address.ip().is_loopback());
        if let (true, Some(&address)) = (options.open, reachable) {
            return Err(Error::OpenNotLoopback { address });
        }
        options.cors.check()?;
        let tls = match options.tls.is_on() {
            true => Some(Arc::new(Tls::load(&options.tls).await?)),
            false => None,
        };
        let failed = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                server.address = %address,
                "other machines reach the server without TLS; that is fine behind a proxy that ends TLS and nowhere else"
            );
        }
        Ok(Server { listener, address, tls, options })
    }

    /// The bound address, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `cancel`, then ends the open requests. Returns when the last connection is closed.
    pub async fn serve(self, api: Api, cancel: CancellationToken) {
        let shutdown_timeout = self.options.shutdown_timeout();
        let permits = Arc::new(Semaphore::new(self.options.max_connections));
        let background = TaskTracker::new();
        background.spawn(crate::metrics::upkeep(api.metrics.clone(), cancel.clone()));
        if let Some(tls) = &self.tls {
            background.spawn(tls.clone().watch(cancel.clone()));
        }
        let options = Arc::new(self.options.clone());
        let per_address = PerAddress::new(&self.options, self.options.max_connections_per_address);
        // Before anybody is let in: no change may be missed.
        let changes = api.identity.directory.changes();
        let app = Arc::new(App::new(api, self.options, cancel.clone()));
        background.spawn(app.live.open.clone().watch(changes, cancel.clone()));
        let stopped = CancellationToken::new();
        background.spawn(app.live.channels.clone().run(stopped.clone()));
        let router = router::new(app.clone());

        tracing::info!(server.address = %self.address, tls.enabled = self.tls.is_some(), "the HTTP interface is listening");
        let connections = Connections {
            protocol: Protocol { tls: self.tls, router, options, cancel: cancel.clone() },
            tracker: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        while let Some((stream, peer, permit)) = next(&self.listener, &permits, &cancel).await {
            // Closed without a word: an answer would cost more than the client is worth.
            match per_address.take(peer.address.ip()) {
                Some(place) => connections.open(stream, peer, (permit, place)),
                None => metrics::counter!(crate::metrics::CONNECTIONS_REFUSED_TOTAL).increment(1),
            }
        }
        drop(self.listener);
        let deadline = tokio::time::Instant::now() + shutdown_timeout;
        connections.close(shutdown_timeout).await;
        // Nobody can open one any more. They were told at the same time as the connections.
        app.live.close(deadline).await;
        stopped.cancel();
        app.outbox.close(shutdown_timeout).await;
        background.close();
        background.wait().await;
        tracing::info!("the HTTP interface has stopped");
    }
}

/// The next connection, once there is room for it. `None`: the server stops.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    cancel: &CancellationToken,
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = cancel.run_until_cancelled(permits.clone().acquire_owned()).await?;
    let permit = permit.expect("the semaphore is never closed");
    loop {
        match cancel.run_until_cancelled(listener.accept()).await? {
            Ok((stream, address)) => return Some((stream, Peer { address }, permit)),
            Err(error) => {
                tracing::warn!(error = %error, "a connection can't be accepted");
                cancel.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await?;
            }
        }
    }
}

struct Connections {
    protocol: Protocol,
    tracker: TaskTracker,
    cut: CancellationToken,
}

impl Connections {
    fn open(&self, stream: TcpStream, peer: Peer, places: (OwnedSemaphorePermit, Option<Place>)) {
        let (protocol, cut) = (self.protocol.clone(), self.cut.clone());
        self.tracker.spawn(async move {
            let _places = places;
            let open = metrics::gauge!(crate::metrics::CONNECTIONS);
            open.increment(1.0);
            // A handshake, too, happens here: the next connection doesn't wait for it.
            if let Some(Err(error)) = cut.run_until_cancelled(protocol.serve(stream, peer)).await {
                tracing::debug!(error = error, "a connection ended early");
            }
            open.decrement(1.0);
        });
    }

    async fn close(self, limit: Duration) {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                connections.open = self.tracker.len(),
                "requests still ran when the time to stop was over; they are cut"
            );
        }
        self.cut.cancel();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bind(listen: &str) -> Result<Server, Error> {
        Server::bind(Options { listen: listen.into(), ..Options::default() }).await
    }

    #[tokio::test]
    async fn an_open_server_listens_on_loopback_addresses_only() {
        let open = |listen: &str| Options { listen: listen.into(), open: true, ..Options::default() };
        assert!(Server::bind(open("127.0.0.1:0")).await.unwrap().address().port() > 0);
        assert!(Server::bind(open("localhost:0")).await.is_ok());
        for reachable in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let bound = Server::bind(open(reachable)).await;
            assert!(matches!(bound, Err(Error::OpenNotLoopback { .. })), "{reachable}");
        }
        assert!(bind("0.0.0.0:0").await.is_ok(), "clients sign in");
    }

    #[tokio::test]
    async fn a_text_that_is_no_address_is_named() {
        for text in ["8080", "", "127.0.0.1", "127.0.0.1:99999"] {
            let error = bind(text).await.unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind("127.0.0.1:0").await.unwrap();
        let error = bind(&first.address().to_string()).await.unwrap_err();
        assert!(matches!(error, Error::Bind { address, .. } if address == first.address()));
    }
}
