//! Who sends a request: found out once, before any handler, which take it from the request's extensions.
//!
//! An access token proves a session, an API key an account, a cookie a session of a browser; without any of them the caller is
//! anonymous, or on an open server whoever it is. What is there and isn't good is refused everywhere, also where nothing
//! is needed: a client whose token has expired must not get an anonymous answer and take it for its own.
//!
//! Who stays longer than a request is asked again ([`lasting`]).

pub(crate) mod lasting;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use writ_identity::access_token::{self, Grant, LEEWAY};
use writ_identity::api_key::{ApiKey, StoredApiKey};
use writ_identity::models::API_KEY;
use writ_model::access::{Access, Permissions};
use writ_model::decide::Actor;
use writ_model::{Timestamp, Value};
use writ_projections::query::Whole;

use crate::app::{App, Shared};
use crate::clock::now;
use crate::commands::Wait;
use crate::identity::cookies::{self, Cookie};
use crate::identity::sessions::{Carrier, csrf_missing};
use crate::identity::system::{self, Own};
use crate::identity::{accounts, rows};
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::rate_limit::{self, Bucket};
use lasting::Lasting;

/// How long what was read of an API key is used, unless it changes before.
const KEY_LIVES: Duration = Duration::from_secs(300);
/// API keys that are kept in memory. One takes some hundred bytes.
const KEYS: usize = 10_000;

/// Who sends a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// For the rules of the models.
    pub(crate) actor: Actor,
    /// What it was proven by.
    pub(crate) via: Via,
    /// What of the proof must still hold later on.
    pub(crate) lasting: Arc<Lasting>,
}

/// What a caller has proven to be someone with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Via {
    /// Nothing.
    Nobody,
    /// A session's access token.
    Session { session: Uuid, by_cookie: bool },
    /// An API key.
    ApiKey { key: Uuid },
    /// A token of a trusted issuer.
    Trusted,
}

impl Caller {
    /// Whoever reaches an open server: nobody in particular, who may do everything.
    pub(crate) fn open() -> Caller {
        Caller { actor: Actor::unrestricted(), via: Via::Nobody, lasting: Arc::default() }
    }

    fn anonymous() -> Caller {
        Caller { actor: Actor::default(), via: Via::Nobody, lasting: Arc::default() }
    }

    /// Whether nobody has signed in.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.actor.id.is_none()
    }

    /// The account and its session, for what an owner does and no key.
    pub(crate) fn session(&self) -> Result<(Uuid, Uuid), Problem> {
        match (self.actor.id, self.via) {
            (Some(account), Via::Session { session, .. }) => Ok((account, session)),
            (Some(_), _) => Err(Kind::Forbidden.because("Only who has signed in here can do this.")),
            (None, _) => Err(Kind::Unauthenticated.because("Sign in first.")),
        }
    }

    /// What its requests are charged to, beside the address.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let account = self.actor.id.map(|id| Bucket::account(&id.to_string()));
        let key = match self.via {
            Via::ApiKey { key } => Some(Bucket::key(&key.to_string())),
            _ => None,
        };
        account.into_iter().chain(key).collect()
    }

    /// How the caller carries tokens.
    pub(crate) fn carrier(&self) -> Carrier {
        match self.via {
            Via::Session { by_cookie: true, .. } => Carrier::Cookies,
            _ => Carrier::Body,
        }
    }

    /// Whether a permission, and not only a rule, lets the caller send this command.
    pub(crate) fn may_command(&self, model: &str, command: &str) -> bool {
        let access = Access::Command(command);
        self.actor.permissions.allow(model, access)
            && self.actor.scopes.as_ref().is_none_or(|scopes| scopes.allow(model, access))
    }

    /// The same as a problem.
    pub(crate) fn must_command(&self, model: &str, command: &str) -> Result<(), Problem> {
        if self.may_command(model, command) {
            return Ok(());
        }
        let kind = if self.is_anonymous() { Kind::Unauthenticated } else { Kind::Forbidden };
        Err(kind.because(format!("This needs the permission `{model}.{command}`.")))
    }
}

/// Finds out who sends the request, and charges it to them.
pub(crate) async fn identify(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match of(&app, &trace, request.method(), request.headers()).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let buckets = caller.buckets();
    if !buckets.is_empty()
        && let Err(problem) =
            rate_limit::layer::charge(&app.api.limiter, request.extensions(), &buckets).await
    {
        return problem.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Who sends a request with these headers.
pub(crate) async fn of(
    app: &App,
    trace: &Trace,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Problem> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return match Cookie::Access.find(app.identity(), headers) {
            Some(token) => {
                let caller = of_token(app, token, true)?;
                let (_, session) = caller.session()?;
                let is_safe = method.is_safe();
                if !is_safe && !cookies::has_csrf(&app.identity().keys.sealing(), headers, session) {
                    return Err(csrf_missing());
                }
                Ok(caller)
            }
            None if app.options.open => Ok(Caller::open()),
            None => Ok(Caller::anonymous()),
        };
    };
    let bearer = header.to_str().ok().and_then(|text| text.split_once(' '));
    let Some((_, token)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Err(Kind::Unauthenticated
            .because("`Authorization` takes `Bearer` and an access token or an API key."));
    };
    of_bearer(app, trace, token.trim()).await
}

/// Who has an access token, of this server or of a trusted issuer, or an API key.
pub(crate) async fn of_bearer(app: &App, trace: &Trace, token: &str) -> Result<Caller, Problem> {
    if token.starts_with("writ_") {
        return of_key(app, trace, token).await;
    }
    if let Some(caller) = app.identity().trusted.caller(app, token).await {
        return caller;
    }
    of_token(app, token, false)
}

/// What an access token says, if it holds.
fn of_token(app: &App, token: &str, by_cookie: bool) -> Result<Caller, Problem> {
    let identity = app.identity();
    let claims = identity.tokens.verify(&identity.keys.signing(), token, now()).map_err(|error| {
        tracing::debug!(%error, "an access token isn't good");
        match error {
            access_token::Error::Expired { .. } => {
                Kind::Unauthenticated.because("The access token has expired; refresh it.")
            }
            _ => Kind::Unauthenticated.because("The access token isn't good."),
        }
    })?;
    check_directory(app)?;
    let Grant { account, session, version, roles } = claims.grant;
    let lasting = Lasting { version, roles, until: Some(claims.expires_at.plus(LEEWAY)) };
    lasting::of_session(app, account, Via::Session { session, by_cookie }, lasting.into())
}

/// Nobody is believed before this server knows what was revoked.
pub(crate) fn check_directory(app: &App) -> Result<(), Problem> {
    match app.identity().directory.is_ready() {
        true => Ok(()),
        false => Err(Kind::ReadSideUnavailable
            .because("This server doesn't know yet which sessions have ended; try again in a moment.")),
    }
}

/// API keys as they were read lately.
#[derive(Debug)]
pub(crate) struct KnownKeys(Cache<Uuid, KnownKey>);

impl Default for KnownKeys {
    fn default() -> Self {
        KnownKeys(Cache::new(KEYS))
    }
}

#[derive(Debug, Clone)]
struct KnownKey {
    stored: StoredApiKey,
    account: Uuid,
    /// Neither revoked nor of an earlier owner of the account, which is active.
    is_good: bool,
    roles: Vec<Uuid>,
    /// What the directory had heard of both when they were read.
    heard: (u64, Option<u64>),
    read_at: Instant,
    /// The last use that was noted, milliseconds since 1970.
    used_at: Arc<AtomicI64>,
}

async fn of_key(app: &App, trace: &Trace, text: &str) -> Result<Caller, Problem> {
    let presented =
        ApiKey::parse(text).map_err(|error| Kind::Unauthenticated.because(format!("{error}.")))?;
    check_directory(app)?;
    let id = presented.id();
    let known = known_key(app, id).await?;
    known.stored.verify(&presented, now()).map_err(|_| wrong_key())?;
    let caller = of_known_key(app, id, &known)?;
    note_use(app, trace, id, &known);
    Ok(caller)
}

fn wrong_key() -> Problem {
    Kind::Unauthenticated.because("The API key isn't good, or not any more.")
}

/// What there is of a key, whoever has it.
async fn known_key(app: &App, id: Uuid) -> Result<KnownKey, Problem> {
    let identity = app.identity();
    let is_current = |known: &KnownKey| {
        let heard = (identity.directory.key_version(id), identity.directory.changed(known.account));
        known.heard == heard && known.read_at.elapsed() < KEY_LIVES
    };
    if let Some(known) = identity.known_keys.0.get(&id).filter(is_current) {
        return Ok(known);
    }
    let known = read_key(app, id).await?.ok_or_else(wrong_key)?;
    identity.known_keys.0.insert(id, known.clone());
    Ok(known)
}

/// Whom a key makes its holder, if it is still good.
fn of_known_key(app: &App, id: Uuid, known: &KnownKey) -> Result<Caller, Problem> {
    let until = known.stored.expires_at();
    if !known.is_good || until.is_some_and(|until| until <= now()) {
        return Err(wrong_key());
    }
    let directory = &app.identity().directory;
    let names = directory.names(&known.roles);
    let (roles, permissions) = directory.resolve(&names);
    let scopes = Some(known.stored.scopes().clone());
    let actor = Actor { id: Some(known.account), roles, permissions, scopes };
    let lasting = Lasting { until, ..Lasting::default() };
    Ok(Caller { actor, via: Via::ApiKey { key: id }, lasting: Arc::new(lasting) })
}

/// Notes that a key was used, once an hour. It is put into Kafka and not waited for; if that fails, a later use is noted.
fn note_use(app: &App, trace: &Trace, key: Uuid, known: &KnownKey) {
    let (at, noted) = (now().0, known.used_at.load(Ordering::Relaxed));
    let hour = 60 * 60 * 1000;
    let is_first = || known.used_at.compare_exchange(noted, at, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if at - noted < hour || !is_first() {
        return;
    }
    let own = Own {
        model: API_KEY,
        aggregate: key,
        command: "use",
        input: json!({}),
        account: Some(known.account),
        wait: Wait::Accepted,
    };
    if let Err(problem) = system::enqueue(app, trace, own) {
        tracing::debug!(detail = problem.detail, "the use of an API key can't be noted now");
        known.used_at.store(noted, Ordering::Relaxed);
    }
}

async fn read_key(app: &App, id: Uuid) -> Result<Option<KnownKey>, Problem> {
    let directory = &app.identity().directory;
    let version = directory.key_version(id);
    let Some(row) = rows::current(app, API_KEY, id, version, "API key").await? else { return Ok(None) };
    let Some(Value::Uuid(account)) = row.fields.get("account") else { return Ok(None) };
    let changed = directory.changed(*account);
    let owner = accounts::by_id(app, *account).await?;
    let scopes: Option<Permissions> =
        row.fields.get("scopes").and_then(|scopes| serde_json::from_value(scopes.to_json()).ok());
    let expires_at = time(&row, "expires_at");
    let stored = json!({
        "id": id, "hash": row.text("hash"), "scopes": scopes, "expires_at": expires_at.map(|at: Timestamp| at.to_string()),
    });
    let Ok(stored) = serde_json::from_value(stored) else { return Ok(None) };
    let is_revoked = row.fields.get("revoked_at").is_some_and(|at| *at != Value::Null);
    let is_owners = |account: &accounts::Account| {
        account.is_active() && row.integer("owner").unwrap_or(0) == account.owner()
    };
    Ok(Some(KnownKey {
        stored,
        account: *account,
        is_good: !is_revoked && owner.as_ref().is_some_and(is_owners),
        roles: owner.map(|owner| owner.roles()).unwrap_or_default(),
        heard: (version, changed),
        read_at: Instant::now(),
        used_at: Arc::new(AtomicI64::new(time(&row, "used_at").map_or(i64::MIN / 2, |at| at.0))),
    }))
}

fn time(row: &Whole, field: &str) -> Option<Timestamp> {
    match row.fields.get(field) {
        Some(Value::Timestamp(at)) => Some(*at),
        _ => None,
    }
}
