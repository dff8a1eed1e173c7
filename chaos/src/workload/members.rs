//! Unique values: members join with an e-mail address, change it, and leave. Some addresses are contested.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rand::Rng as _;

use super::client::Client;
use crate::history::{Outcome, Request};

/// How many joins want the same contested address, at about the same time.
const CONTENDERS: u64 = 4;
/// Freed addresses that are taken again at the end.
const TAKEN_AGAIN: usize = 40;

#[derive(Debug, Default)]
pub(super) struct Members {
    contested: AtomicU64,
    /// Members that joined with an address of their own: id and address.
    settled: Mutex<Vec<(String, String)>>,
    /// Addresses that their members gave up.
    freed: Mutex<Vec<String>>,
}

impl Members {
    pub(super) async fn step(&self, client: &mut Client) {
        match client.rng.random_range(0..16) {
            0..5 => {
                let ticket = self.contested.fetch_add(1, Ordering::Relaxed);
                let email = format!("contested-{}@example.org", ticket / CONTENDERS);
                client.send(Request { email: Some(email), ..member("join") }).await;
            }
            5..7 => self.change(client).await,
            _ => self.join(client).await,
        }
    }

    async fn join(&self, client: &mut Client) {
        let email = format!("{}@example.org", client.name("m"));
        let request = Request { email: Some(email.clone()), ..member("join") };
        if let Outcome::Committed(acknowledged) = client.send(request).await {
            self.settled.lock().push((acknowledged.aggregate.to_string(), email));
        }
    }

    /// Takes another address, or leaves; either frees the old one.
    async fn change(&self, client: &mut Client) {
        // Out of the list, so that nobody else changes the same member meanwhile.
        let chosen = {
            let mut settled = self.settled.lock();
            let count = settled.len();
            (count > 0).then(|| settled.swap_remove(client.rng.random_range(0..count)))
        };
        let Some((target, old)) = chosen else { return self.join(client).await };
        let new = format!("{}@example.org", client.name("m"));
        let moves = client.rng.random_bool(0.6);
        let request = match moves {
            true => Request { target: target.clone(), email: Some(new.clone()), ..member("move") },
            false => Request { target: target.clone(), ..member("leave") },
        };
        if let Outcome::Committed(_) = client.send(request).await {
            self.freed.lock().push(old);
            if moves {
                self.settled.lock().push((target, new));
            }
        }
    }

    /// When all is quiet: addresses that were given up must be there for others.
    pub(super) async fn take_freed(&self, client: &mut Client) {
        let freed = std::mem::take(&mut *self.freed.lock());
        for email in freed.into_iter().take(TAKEN_AGAIN) {
            if client.gave_up() {
                break;
            }
            client.send(Request { email: Some(email), ..member("join") }).await;
        }
    }
}

fn member(command: &'static str) -> Request {
    Request { model: "member", command, ..Request::default() }
}
