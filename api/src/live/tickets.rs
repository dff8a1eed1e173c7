//! `POST /v1/live/tickets`: proof for those who open a socket where no header can be sent, as a page does with an access token.
//!
//! A ticket is 244 random bits, good once and for half a minute. Redis keeps what the caller has proven, not the token that
//! proved it, under a hash of the ticket: who reads Redis gets neither. Nor can who writes to Redis make one, since what is kept
//! there carries a tag that only the servers can make.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use redis::Script;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::Timestamp;
use writ_model::decide::Actor;

use crate::app::{App, Shared};
use crate::caller::lasting::{self, Lasting};
use crate::caller::{Caller, Via};
use crate::problem::{Kind, Problem};
use crate::rate_limit::hashed;

/// What the tag is for.
const PURPOSE: &str = "writ live ticket";

static PUT: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"));
/// In one step, so that of two who come with the same ticket one gets nothing.
static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('GETDEL', KEYS[1])"));

/// What is kept of a ticket.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    account: Option<Uuid>,
    via: Via,
    version: u64,
    roles: Vec<String>,
    /// Milliseconds since 1970.
    until: Option<i64>,
}

/// A ticket.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ticket {
    /// Goes into `?ticket=` of `GET /v1/live`, or into `authenticate`. Good once.
    ticket: String,
    /// Seconds for which it is good.
    expires_in: u64,
}

/// Gives the caller a ticket.
pub(crate) async fn issue(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    if caller.is_anonymous() && !app.options.open {
        return Err(Kind::Unauthenticated.because("Nobody needs no ticket. Sign in first."));
    }
    let ticket = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let lives = app.options.live.ticket_ms.max(1);
    let Lasting { version, roles, until } = Lasting::clone(&caller.lasting);
    let (account, until) = (caller.actor.id, until.map(|until| until.0));
    let kept = Kept { account, via: caller.via, version, roles, until };
    let kept = serde_json::to_string(&kept).expect("invariant: it has string keys only");
    let tag = app.identity().keys.sealing().tag(PURPOSE, tagged(&ticket, &kept).as_bytes());
    let mut call = PUT.prepare_invoke();
    call.key(key(&app, &ticket)).arg(format!("{tag} {kept}")).arg(lives);
    app.live.redis.call::<()>(&call).await.map_err(|_| away())?;
    let ticket = Ticket { ticket, expires_in: lives.div_ceil(1000) };
    Ok(([(CACHE_CONTROL, "no-store")], Json(ticket)).into_response())
}

/// Who has the ticket, which is used up by this.
pub(crate) async fn redeem(app: &App, ticket: &str) -> Result<Caller, Problem> {
    let refused =
        || Kind::Unauthenticated.because("The ticket isn't good: each is good once, and for a short time.");
    let mut call = TAKE.prepare_invoke();
    call.key(key(app, ticket));
    let found: Option<String> = app.live.redis.call(&call).await.map_err(|_| away())?;
    let found = found.ok_or_else(refused)?;
    let (tag, kept) = found.split_once(' ').ok_or_else(refused)?;
    if !app.identity().keys.sealing().is_tag(PURPOSE, tagged(ticket, kept).as_bytes(), tag) {
        return Err(refused());
    }
    let Kept { account, via, version, roles, until } = serde_json::from_str(kept).map_err(|_| refused())?;
    let via = match via {
        Via::Nobody if app.options.open => return Ok(Caller::open()),
        Via::Nobody => return Err(refused()),
        // A ticket is carried on purpose, whatever it was asked for with.
        Via::Session { session, .. } => Via::Session { session, by_cookie: false },
        other => other,
    };
    let actor = Actor { id: account, ..Actor::default() };
    let lasting = Lasting { version, roles, until: until.map(Timestamp) };
    lasting::again(app, &Caller { actor, via, lasting: Arc::new(lasting) }).await
}

/// The ticket is part of it: what is kept for one can't be put in place of another.
fn tagged(ticket: &str, kept: &str) -> String {
    format!("{ticket} {kept}")
}

fn key(app: &App, ticket: &str) -> String {
    format!("{}:ticket:{}", app.api.limiter.prefix(), hashed(&[ticket.as_bytes()]))
}

/// Redis has gone, and why, or it has come.
pub(super) fn heard(away: Option<&str>) {
    match away {
        Some(error) => tracing::warn!(error, "Redis can't be asked; nobody gets a ticket for a socket"),
        None => tracing::info!("Redis answers again; there are tickets for sockets"),
    }
}

fn away() -> Problem {
    Kind::LiveUnavailable.because("Redis, which keeps the tickets, doesn't answer; try again in a moment.")
}
