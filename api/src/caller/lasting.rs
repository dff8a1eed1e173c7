//! Who stays connected is asked again: when what was proven at the beginning runs out, or the directory hears that it may not
//! hold any more. The secret that proved it is gone by then; what it said is kept.
//!
//! Whatever a request with the same proof would be refused for now, is refused here: the same checks are made, of the same
//! directory, but for those of the secret itself.

use std::sync::Arc;

use uuid::Uuid;
use writ_model::Timestamp;
use writ_model::decide::Actor;

use super::{Caller, Via, check_directory, known_key, of_known_key};
use crate::app::App;
use crate::clock::now;
use crate::problem::{Kind, Problem};

/// What a proof said that must still hold later on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// Of the account, at the time of the proof: a change since then makes it void.
    pub(crate) version: u64,
    /// The names of the roles, also of those that there aren't at the moment.
    pub(crate) roles: Vec<String>,
    /// From then on it is no good. `None`: it has no end of its own.
    pub(crate) until: Option<Timestamp>,
}

/// Whom a session's access token makes its holder, if the directory has nothing against it.
pub(super) fn of_session(
    app: &App,
    account: Uuid,
    via: Via,
    lasting: Arc<Lasting>,
) -> Result<Caller, Problem> {
    let Via::Session { session, .. } = via else { return Err(void()) };
    check_directory(app)?;
    let directory = &app.identity().directory;
    directory.check_grant(account, session, lasting.version).map_err(|reason| {
        tracing::debug!(error = %reason, "an access token isn't good any more");
        void()
    })?;
    let (roles, permissions) = directory.resolve(&lasting.roles);
    Ok(Caller { actor: Actor { id: Some(account), roles, permissions, scopes: None }, via, lasting })
}

/// Whom a token of a trusted issuer makes its holder, if nothing was heard of the account since.
fn of_trusted(app: &App, id: Uuid, lasting: Arc<Lasting>) -> Result<Caller, Problem> {
    let directory = &app.identity().directory;
    if directory.changed(id).unwrap_or_default() != lasting.version {
        return Err(void());
    }
    let (roles, permissions) = directory.resolve(&lasting.roles);
    Ok(Caller { actor: Actor { id: Some(id), roles, permissions, scopes: None }, via: Via::Trusted, lasting })
}

fn void() -> Problem {
    Kind::Unauthenticated.because("The access token isn't good any more; refresh it, or sign in.")
}

/// The caller as it is now, or why it is none any more. Kind [`Kind::Unauthenticated`]: for good.
pub(crate) async fn again(app: &App, caller: &Caller) -> Result<Caller, Problem> {
    let lasting = &caller.lasting;
    if lasting.until.is_some_and(|until| until <= now()) {
        return Err(Kind::Unauthenticated.because("What proved who this is has expired."));
    }
    match (caller.via, caller.actor.id) {
        (Via::Session { .. }, Some(account)) => of_session(app, account, caller.via, lasting.clone()),
        (Via::ApiKey { key }, _) => of_known_key(app, key, &known_key(app, key).await?),
        (Via::Trusted, Some(id)) => of_trusted(app, id, lasting.clone()),
        (Via::Nobody | Via::Session { .. } | Via::Trusted, _) => Ok(caller.clone()),
    }
}
