//! Money: accounts are opened, paid into, and paid from one to another.

use anyhow::{Result, bail};
use rand::Rng as _;
use uuid::Uuid;

use super::client::Client;
use super::zipf::zipf;
use crate::history::{Outcome, Request};

/// Accounts that are there from the beginning, chosen with skew. Those opened later get what their opening said.
const ACCOUNTS: usize = 200;
/// What each begins with.
const OPENING: i64 = 1000;
/// More than an account ever has.
const TOO_MUCH: i64 = 1_000_000_000_000;

/// They are known by number, so there is nothing to remember.
#[derive(Debug)]
pub(super) struct Accounts;

impl Accounts {
    /// Opens the first accounts.
    pub(super) async fn open_all(&self, client: &mut Client) -> Result<()> {
        for nth in 0..ACCOUNTS {
            let request = Request { target: number(nth), value: Some(OPENING), ..account("open") };
            if !matches!(client.send(request).await, Outcome::Committed(_)) {
                bail!("an account can't be opened though nothing is broken yet; the logs tell more");
            }
        }
        Ok(())
    }

    pub(super) async fn open(&self, client: &mut Client) {
        let target = client.name("later");
        client.send(Request { target, value: Some(OPENING), ..account("open") }).await;
    }

    /// `once`: without an idempotency key, and never repeated.
    pub(super) async fn deposit(&self, client: &mut Client, once: bool) {
        let value = Some(client.rng.random_range(1..100));
        let target = number(zipf(&mut client.rng, ACCOUNTS));
        client.send(Request { target, value, once, ..account("deposit") }).await;
    }

    /// Two commands with nothing but the client to hold them together: what is withdrawn is deposited elsewhere.
    pub(super) async fn transfer(&self, client: &mut Client) {
        let from = zipf(&mut client.rng, ACCOUNTS);
        let to = (from + client.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let value = Some(client.rng.random_range(1..200));
        let transfer = Some(Uuid::from_u128(client.rng.random()));
        let half = |command, account: usize| Request {
            target: number(account),
            value,
            transfer,
            ..self::account(command)
        };
        if let Outcome::Committed(_) = client.send(half("withdraw", from)).await {
            client.send(half("deposit", to)).await;
        }
    }

    /// What can't be: an account that exists is opened, or more is withdrawn than there is.
    pub(super) async fn conflict(&self, client: &mut Client) {
        let target = number(zipf(&mut client.rng, ACCOUNTS));
        let (command, value) = match client.rng.random_bool(0.5) {
            true => ("open", OPENING),
            false => ("withdraw", TOO_MUCH),
        };
        client.send(Request { target, value: Some(value), ..account(command) }).await;
    }
}

fn account(command: &'static str) -> Request {
    Request { model: "account", command, ..Request::default() }
}

fn number(nth: usize) -> String {
    format!("a-{nth}")
}
