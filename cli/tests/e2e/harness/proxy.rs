//! A TCP proxy in front of a real server: a cable that can be pulled and put back.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug)]
pub(crate) struct Proxy {
    target: String,
    address: SocketAddr,
    /// Present while connections are let through.
    open: Option<(CancellationToken, TaskTracker)>,
}

impl Proxy {
    /// In front of `target` (`host:port`), closed: nobody listens at its address.
    pub(crate) async fn closed(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Proxy { target: target.to_owned(), address: listener.local_addr().unwrap(), open: None }
    }

    pub(crate) async fn opened(target: &str) -> Proxy {
        let mut proxy = Self::closed(target).await;
        proxy.open().await;
        proxy
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The URL with the proxy in place of its host and port.
    pub(crate) fn in_place_of(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_host(Some(&self.address.ip().to_string())).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.to_string()
    }

    /// From the next [`Self::open`] on it leads to `target`, such as a server that was started again.
    pub(crate) fn leads_to(&mut self, target: &str) {
        target.clone_into(&mut self.target);
    }

    /// Lets connections through.
    pub(crate) async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (cut, tracker) = (CancellationToken::new(), TaskTracker::new());
        self.open = Some((cut.clone(), tracker.clone()));
        let (target, connections) = (self.target.clone(), tracker.clone());
        tracker.spawn(async move {
            while let Some(Ok((mut near, _))) = cut.run_until_cancelled(listener.accept()).await {
                let (cut, target) = (cut.clone(), target.clone());
                connections.spawn(async move {
                    cut.run_until_cancelled(async {
                        if let Ok(mut far) = TcpStream::connect(&target).await {
                            // The ends see how it ended; here it doesn't matter.
                            let _ = copy_bidirectional(&mut near, &mut far).await;
                        }
                    })
                    .await
                });
            }
        });
    }

    /// Cuts every connection and listens no more.
    pub(crate) async fn close(&mut self) {
        if let Some((cut, tracker)) = self.open.take() {
            cut.cancel();
            tracker.close();
            tracker.wait().await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some((cut, _)) = &self.open {
            cut.cancel();
        }
    }
}

/// `host:port` of a URL.
pub(crate) fn authority(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap())
}
