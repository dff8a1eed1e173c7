//! Money: purses are opened, paid into, and paid from one to another.

use anyhow::{Result, bail};
use rand::Rng as _;
use uuid::Uuid;

use super::client::Client;
use super::zipf::zipf;
use crate::history::{Outcome, Request};

/// Purses that are there from the beginning, chosen with skew. Those opened later get what their opening said.
const PURSES: usize = 200;
/// What each begins with.
const OPENING: i64 = 1000;
/// More than a purse ever has.
const TOO_MUCH: i64 = 1_000_000_000_000;

/// They are known by number, so there is nothing to remember.
#[derive(Debug)]
pub(super) struct Purses;

impl Purses {
    /// Opens the first purses.
    pub(super) async fn open_all(&self, client: &mut Client) -> Result<()> {
        for nth in 0..PURSES {
            let request = Request { target: number(nth), value: Some(OPENING), ..purse("open") };
            if !matches!(client.send(request).await, Outcome::Committed(_)) {
                bail!("a purse can't be opened though nothing is broken yet; the logs tell more");
            }
        }
        Ok(())
    }

    pub(super) async fn open(&self, client: &mut Client) {
        let target = client.name("later");
        client.send(Request { target, value: Some(OPENING), ..purse("open") }).await;
    }

    /// `once`: without an idempotency key, and never repeated.
    pub(super) async fn deposit(&self, client: &mut Client, once: bool) {
        let value = Some(client.rng.random_range(1..100));
        let target = number(zipf(&mut client.rng, PURSES));
        client.send(Request { target, value, once, ..purse("deposit") }).await;
    }

    /// Two commands with nothing but the client to hold them together: what is withdrawn is deposited elsewhere.
    pub(super) async fn transfer(&self, client: &mut Client) {
        let from = zipf(&mut client.rng, PURSES);
        let to = (from + client.rng.random_range(1..PURSES)) % PURSES;
        let value = Some(client.rng.random_range(1..200));
        let transfer = Some(Uuid::from_u128(client.rng.random()));
        let half = |command, purse: usize| Request {
            target: number(purse),
            value,
            transfer,
            ..self::purse(command)
        };
        if let Outcome::Committed(_) = client.send(half("withdraw", from)).await {
            client.send(half("deposit", to)).await;
        }
    }

    /// What can't be: a purse that exists is opened, or more is withdrawn than there is.
    pub(super) async fn conflict(&self, client: &mut Client) {
        let target = number(zipf(&mut client.rng, PURSES));
        let (command, value) = match client.rng.random_bool(0.5) {
            true => ("open", OPENING),
            false => ("withdraw", TOO_MUCH),
        };
        client.send(Request { target, value: Some(value), ..purse(command) }).await;
    }
}

fn purse(command: &'static str) -> Request {
    Request { model: "purse", command, ..Request::default() }
}

fn number(nth: usize) -> String {
    format!("a-{nth}")
}
