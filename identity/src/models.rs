//! The built-in models: accounts, sessions, roles and API keys are event-sourced like the application's own models. Their
//! commands, events, tables and topics are made in the same way, so the audit trail of every grant is its event log.
//!
//! What has to do with passwords and tokens only the server itself may send: its rules ask for [`SYSTEM`], a role that no
//! account has.

#[cfg(test)]
mod tests;

use writ_model::Models;
use writ_model::diagnostic::{Diagnostic, Source};

/// Someone who signs in.
pub const ACCOUNT: &str = "account";
/// A sign-in on one device.
pub const SESSION: &str = "session";
/// What accounts may do beyond the rules.
pub const ROLE: &str = "role";
/// By which a service acts for an account.
pub const API_KEY: &str = "api_key";
/// Who an account is for an OIDC provider.
pub const OIDC_IDENTITY: &str = "oidc_identity";

/// The role of the server itself.
pub const SYSTEM: &str = "system";

/// What the names of their files begin with: none of a folder does.
const FOLDER: &str = "<built in>/";
const FILES: [(&str, &str); 5] = [
    (ACCOUNT, include_str!("../models/account.yaml")),
    (SESSION, include_str!("../models/session.yaml")),
    (ROLE, include_str!("../models/role.yaml")),
    (API_KEY, include_str!("../models/api_key.yaml")),
    (OIDC_IDENTITY, include_str!("../models/oidc_identity.yaml")),
];

/// Whether it is the name of one.
pub fn is_built_in(name: &str) -> bool {
    FILES.iter().any(|(own, _)| *own == name)
}

/// Their files.
pub fn sources() -> impl Iterator<Item = Source> {
    FILES
        .into_iter()
        .map(|(name, text)| Source { name: format!("{FOLDER}{name}.yaml"), text: text.to_owned() })
}

/// Checks an application's files together with the built-in ones, as [`Models::check`] does. Nothing is said of the built-in
/// ones, except where a file declares one of them again.
///
/// # Errors
/// What is wrong with the files.
pub fn check(app: &str, sources: &[Source]) -> Result<Models, Vec<Diagnostic>> {
    let all: Vec<Source> = self::sources().chain(sources.iter().cloned()).collect();
    let mut models = Models::check(app, &all)?;
    models.warnings.retain(|warning| !warning.file.starts_with(FOLDER));
    Ok(models)
}
