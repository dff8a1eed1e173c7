//! A connection that listens for what the projector says when it commits, on which one can also ask.
//!
//! What makes rows other than they were says so by NOTIFY in its own transaction: without a payload where it moves places, with
//! one ([`REWRITTEN`]) where it doesn't, as when an event that was put aside is given to a projection that has passed it by. Who
//! listens before they ask misses nothing: what commits before the question is in its answer, what commits later is heard.
//! While a connection is lost nothing is heard, so a new one counts as having heard that everything was rewritten.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};

use crate::tables::Schema;

/// Limit of connecting, and of one statement.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);
/// The payload that says that rows were changed and no place has moved.
pub(crate) const REWRITTEN: &str = "rewritten";

/// The connection.
#[derive(Debug)]
pub(crate) struct Line {
    connect: PgConnectOptions,
    channel: String,
    /// Made when first needed and kept from then on: whoever waited once will wait again, and a new connection takes
    /// longer than most waits. Between waits it costs an idle connection and a wake-up per transaction.
    listener: Option<PgListener>,
    /// Rows may be others than they were, whatever the places say.
    is_rewritten: bool,
}

impl Line {
    /// `name`: by which PostgreSQL lists the connection.
    pub(crate) fn new(connect: &PgConnectOptions, schema: &Schema, name: &str) -> Line {
        let connect = connect.clone().application_name(name);
        Line { connect, channel: super::channel(schema), listener: None, is_rewritten: false }
    }

    /// Returns when places have moved, or the connection is lost. Never while there is no connection. Cancel safe.
    pub(crate) async fn news(&mut self) {
        let Some(listener) = &mut self.listener else { return std::future::pending().await };
        match listener.try_recv().await {
            Ok(Some(heard)) => self.is_rewritten |= is_of_rows(&heard),
            _ => self.listener = None,
        }
    }

    /// The connection, if there is one. What was heard so far is answered by what is asked now.
    pub(crate) fn open(&mut self) -> Option<&mut PgListener> {
        let listener = self.listener.as_mut()?;
        while let Some(heard) = listener.next_buffered() {
            self.is_rewritten |= is_of_rows(&heard);
        }
        Some(listener)
    }

    /// A new connection, which listens.
    pub(crate) async fn renew(&mut self) -> Result<&mut PgListener, sqlx::Error> {
        self.listener = None;
        // A pool of its own each time: it can't be blocked by a connection that is still being closed.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(LIMIT)
            .connect_lazy_with(self.connect.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        // A lost connection is to be known, not hidden.
        listener.eager_reconnect(false);
        listener.listen(&self.channel).await?;
        self.is_rewritten = true;
        Ok(self.listener.insert(listener))
    }

    /// Ends the connection.
    pub(crate) fn close(&mut self) {
        self.listener = None;
    }

    /// Whether rows may be others than they were although no place has moved, since this was asked last.
    pub(crate) fn take_rewritten(&mut self) -> bool {
        std::mem::take(&mut self.is_rewritten)
    }
}

fn is_of_rows(heard: &PgNotification) -> bool {
    !heard.payload().is_empty()
}
