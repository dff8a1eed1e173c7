//! Starts servers, speaks to them, and takes them away again. [`world`] is what one application has to itself,
//! [`server`] a running process of it, [`client`] the way to talk to it, [`kafka`] what stands in the topics, [`proxy`]
//! a cable that can be pulled, [`mailbox`] a mail server, [`python`] and [`node`] programs of somebody else, [`people`] who sign in, [`socket`] the live one, [`tool`] a subcommand that runs to its end.

pub(crate) mod client;
pub(crate) mod kafka;
pub(crate) mod mailbox;
pub(crate) mod models;
pub(crate) mod node;
pub(crate) mod people;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod tool;
pub(crate) mod world;

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

pub(crate) use client::{Answer, Client};
pub(crate) use server::Server;
pub(crate) use world::World;

/// How long anything may take that is expected to happen. Generous: it is only spent when a test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A running server with a world of its own.
#[derive(Debug)]
pub(crate) struct App {
    /// Ends before the world that it lives in.
    pub(crate) server: Server,
    pub(crate) world: World,
}

impl App {
    /// A fresh world and a ready server with all roles.
    pub(crate) async fn start() -> App {
        let world = World::new();
        let server = world.start(&[]).await;
        App { server, world }
    }
}

/// One test's use of a shared server, with connections of its own. Shows the server's log if the test fails.
#[derive(Debug)]
pub(crate) struct Shared {
    app: Arc<App>,
    client: Client,
}

impl Shared {
    pub(crate) fn world(&self) -> &World {
        &self.app.world
    }
}

impl Deref for Shared {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.app.server.show_log();
        }
    }
}

/// The server that the tests of an area share. It runs as long as one of them does.
pub(crate) type Slot = Mutex<Weak<App>>;

/// An area's server before its first test.
pub(crate) const fn slot() -> Slot {
    Mutex::const_new(Weak::new())
}

/// The area's server, started if no test of the area uses it at the moment.
pub(crate) async fn shared(slot: &Slot) -> Shared {
    let mut running = slot.lock().await;
    let app = match running.upgrade() {
        Some(app) => app,
        None => {
            let app = Arc::new(App::start().await);
            *running = Arc::downgrade(&app);
            app
        }
    };
    let client = app.server.client();
    Shared { app, client }
}

/// A name that no other test has: letters, digits, lower case.
pub(crate) fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}{}", &random[..12])
}

/// Repeats `attempt` until it gives a value, at most [`LIMIT`]. `what` names what didn't happen.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
