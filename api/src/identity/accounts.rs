//! Accounts as the server reads them, with what no caller sees.

use uuid::Uuid;
use writ_identity::models::ACCOUNT;
use writ_identity::password::PasswordHash;
use writ_identity::seal::Place;
use writ_identity::totp::{RecoveryCodes, TotpSecret};
use writ_model::Value;
use writ_projections::query::Whole;

use super::rows;
use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::queries::{self, unavailable};

/// An account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: Uuid,
    pub(crate) version: u64,
    row: Whole,
}

/// The e-mail address as it counts for signing in.
pub fn login(email: &str) -> String {
    email.trim().to_lowercase()
}

/// The one that signs in by this address.
pub(crate) async fn by_login(app: &App, login: &str) -> Result<Option<Account>, Problem> {
    let model = queries::model(&app.api.models, ACCOUNT)?;
    let found = app.api.queries.whole_by(model, "login", login).await.map_err(unavailable)?;
    let Some(row) = found else { return Ok(None) };
    match app.identity().directory.changed(row.id) {
        Some(version) if version > row.version => by_id(app, row.id).await,
        _ => Ok(Some(Account::of(row))),
    }
}

/// The one with this id, with every change in it that this server has heard of.
pub(crate) async fn by_id(app: &App, id: Uuid) -> Result<Option<Account>, Problem> {
    let version = app.identity().directory.changed(id).unwrap_or(0);
    Ok(rows::current(app, ACCOUNT, id, version, "account").await?.map(Account::of))
}

impl Account {
    fn of(row: Whole) -> Account {
        Account { id: row.id, version: row.version, row }
    }

    /// The same after a command whose event left this version and this state.
    pub(crate) fn after(mut self, version: u64, state: &serde_json::Value) -> Account {
        self.version = version;
        if let Some(credentials) = state["credentials"].as_i64() {
            self.row.fields.insert("credentials".to_owned(), Value::Integer(credentials));
        }
        self
    }

    pub(crate) fn is_active(&self) -> bool {
        self.row.text("status") == Some("active")
    }

    pub(crate) fn email(&self) -> &str {
        self.row.text("email").unwrap_or_default()
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.row.text("name")
    }

    pub(crate) fn email_is_verified(&self) -> bool {
        self.is("email_verified")
    }

    pub(crate) fn has_second_factor(&self) -> bool {
        self.is("totp_active")
    }

    fn is(&self, field: &str) -> bool {
        self.row.fields.get(field) == Some(&Value::Boolean(true))
    }

    /// How often the way in which it signs in was changed.
    pub(crate) fn credentials(&self) -> i64 {
        self.row.integer("credentials").unwrap_or(0)
    }

    /// Counts who has had it: what an earlier owner has made for it is void.
    pub(crate) fn owner(&self) -> i64 {
        self.row.integer("owner").unwrap_or(0)
    }

    /// The last time step of which a code was taken.
    pub(crate) fn totp_step(&self) -> Option<u64> {
        self.row.integer("totp_step").map(i64::unsigned_abs)
    }

    /// The ids of its roles.
    pub(crate) fn roles(&self) -> Vec<Uuid> {
        let Some(Value::List(items)) = self.row.fields.get("roles") else { return Vec::new() };
        items.iter().filter_map(|item| if let Value::Uuid(id) = item { Some(*id) } else { None }).collect()
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, field: &str) -> Vec<String> {
        let Some(Value::List(items)) = self.row.fields.get(field) else { return Vec::new() };
        items
            .iter()
            .filter_map(|item| if let Value::Text(text) = item { Some(text.clone()) } else { None })
            .collect()
    }

    /// Its password's hash, if it has one.
    pub(crate) fn password(&self, app: &App) -> Result<Option<PasswordHash>, Problem> {
        let Some(phc) = self.open(app, "password")? else { return Ok(None) };
        PasswordHash::parse(&phc).map(Some).map_err(|error| self.unusable("password", &error))
    }

    /// The secret of its second factor, if it has one.
    pub(crate) fn totp(&self, app: &App) -> Result<Option<TotpSecret>, Problem> {
        let Some(secret) = self.open(app, "totp")? else { return Ok(None) };
        TotpSecret::from_base32(&secret).map(Some).map_err(|error| self.unusable("totp", &error))
    }

    /// The recovery codes that it has left.
    pub(crate) fn recovery_codes(&self) -> Result<RecoveryCodes, Problem> {
        serde_json::from_value(self.texts("recovery_codes").into())
            .map_err(|error| self.unusable("recovery_codes", &error))
    }

    fn open(&self, app: &App, field: &str) -> Result<Option<zeroize::Zeroizing<String>>, Problem> {
        let Some(sealed) = self.row.text(field) else { return Ok(None) };
        let place = Place { model: ACCOUNT, aggregate: self.id, field };
        let opened = app.identity().keys.sealing().open(place, sealed);
        let opened = opened.map_err(|error| self.unusable(field, &error))?;
        let text = std::str::from_utf8(&opened).map_err(|error| self.unusable(field, &error))?;
        Ok(Some(zeroize::Zeroizing::new(text.to_owned())))
    }

    fn unusable(&self, field: &str, error: &dyn std::error::Error) -> Problem {
        tracing::error!(writ.aggregate.id = %self.id, field, %error, "a field of an account can't be used");
        Kind::Internal.because("The account can't be read; the server's log says why.")
    }
}
