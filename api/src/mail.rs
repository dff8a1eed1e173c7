//! Mails by SMTP: what is configured, and the way to the server. What they say is in [`letter`]; what is still to be sent
//! waits in [`outbox`].
//!
//! A mail goes to the address that an account has, never to one that a request brought along: two addresses that look alike
//! to the database may belong to two people.

pub(crate) mod letter;
pub(crate) mod outbox;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use url::Url;
use uuid::Uuid;
use writ_identity::proof::{Proof, Purpose};

use letter::{Letter, Template};

/// Most connections to the server at once.
const CONNECTIONS: usize = 8;

/// The `mail` section of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The server that takes mails: `smtps://USER:PASSWORD@HOST` (TLS from the start, port 465), `smtp://…?tls=required`
    /// (STARTTLS, port 587), or `smtp://HOST` (nothing is encrypted, port 25). Empty: no mails are sent.
    pub smtp: String,
    /// Who sends them: `Shop <no-reply@example.org>`.
    pub from: String,
    /// How long one attempt to send may take, milliseconds.
    pub timeout_ms: u64,
    /// Where the link for a new password leads. `{token}` stands for the token, after a `#`, so that it reaches neither a log nor
    /// another site. With a `/` in front it is a path of `identity.url`.
    pub reset_url: String,
    /// Where the link leads that confirms an address, likewise.
    pub verify_url: String,
    /// How long the link for a new password is good, seconds.
    pub reset_seconds: u32,
    /// How long the link that confirms an address is good, seconds.
    pub verify_seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            smtp: String::new(),
            from: String::new(),
            timeout_ms: 10_000,
            reset_url: "/reset-password#token={token}".into(),
            verify_url: "/verify-email#token={token}".into(),
            reset_seconds: 60 * 60,
            verify_seconds: 24 * 60 * 60,
        }
    }
}

/// Why mails can't be sent with this configuration. None of these repeats `mail.smtp`, which has a password in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the address of a server.
    #[error(
        "mail.smtp is no address of a mail server; write smtps://USER:PASSWORD@HOST, or smtp://USER:PASSWORD@HOST?tls=required"
    )]
    Server {
        /// What the client says.
        #[source]
        source: Option<lettre::transport::smtp::Error>,
    },
    /// A password that everyone on the way could read.
    #[error(
        "mail.smtp has a password and doesn't demand TLS, so everyone on the way could read it; use smtps:// or add ?tls=required"
    )]
    PasswordInClear,
    /// Not a sender.
    #[error(
        "mail.from: `{from}` is no sender; write it as no-reply@example.org or Shop <no-reply@example.org>"
    )]
    From {
        /// As configured.
        from: String,
    },
    /// Links that lead nowhere.
    #[error(
        "{key}: `{template}` is no link; it begins with https://, http:// or /, and has {{token}} once, after a `#`"
    )]
    Link {
        /// The key.
        key: &'static str,
        /// As configured.
        template: String,
    },
}

/// Why a mail wasn't sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// The account's address can't be one of a mail.
    #[error("the address can't be written into a mail")]
    Address,
    /// The mail can't be put together.
    #[error("the mail can't be put together")]
    Message(#[from] lettre::error::Error),
    /// The server took too long.
    #[error("the mail server didn't answer in time")]
    Late,
    /// The server refused it, or can't be reached. The server's own words may name the address, so they aren't shown.
    #[error("{}", of_smtp(.0))]
    Smtp(lettre::transport::smtp::Error),
}

impl Unsent {
    /// Whether another attempt would be in vain.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Unsent::Address | Unsent::Message(_) => true,
            Unsent::Late => false,
            Unsent::Smtp(error) => error.is_permanent(),
        }
    }
}

fn of_smtp(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server didn't answer in time".to_owned(),
        None if error.is_tls() => "no TLS with the mail server".to_owned(),
        None => "the mail server can't be reached".to_owned(),
    }
}

/// Sends mails. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    /// Of one attempt.
    timeout: Duration,
    connections: Arc<Semaphore>,
    from: Mailbox,
    /// The host that the links are of, as the reader knows the application.
    site: String,
    reset: Template,
    verify: Template,
}

/// Without the transport, which has a password.
impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Mailer {
    /// Checks the configuration; nothing is connected yet. `None`: no server is configured. `url`: `identity.url`.
    ///
    /// # Errors
    /// What can't be used.
    pub fn new(options: &Options, url: &str) -> Result<Option<Mailer>, Error> {
        if options.smtp.is_empty() {
            tracing::info!(
                "no mail server is configured (mail.smtp): nobody gets a link for a new password; `writ admin password` gives one"
            );
            return Ok(None);
        }
        check_privacy(&options.smtp)?;
        let timeout = Duration::from_millis(options.timeout_ms);
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&options.smtp)
            .map_err(|source| Error::Server { source: Some(source) })?
            .timeout(Some(timeout))
            .build();
        let template = |key, text: &str, seconds| {
            Template::new(text, url, seconds).ok_or_else(|| Error::Link { key, template: text.to_owned() })
        };
        Ok(Some(Mailer {
            transport,
            timeout,
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            from: options.from.parse().map_err(|_| Error::From { from: options.from.clone() })?,
            site: Url::parse(url)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned))
                .unwrap_or_else(|| url.to_owned()),
            reset: template("mail.reset_url", &options.reset_url, options.reset_seconds)?,
            verify: template("mail.verify_url", &options.verify_url, options.verify_seconds)?,
        }))
    }

    /// How long a link for this is good.
    pub(crate) fn lifetime(&self, purpose: Purpose) -> Duration {
        self.template(purpose).lifetime()
    }

    fn template(&self, purpose: Purpose) -> &Template {
        match purpose {
            Purpose::Password => &self.reset,
            Purpose::Email => &self.verify,
        }
    }

    /// Sends the link with `proof` to `address`: one attempt.
    pub(crate) async fn send(&self, address: &str, purpose: Purpose, proof: &Proof) -> Result<(), Unsent> {
        let letter = Letter::new(purpose, &self.site, self.template(purpose), proof);
        let message = self.message(address, letter)?;
        let _connection = self.connections.acquire().await.expect("the semaphore is never closed");
        // The client's own limit is for connecting only; a server may also stop in the middle.
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(sent) => sent.map(|_| ()).map_err(Unsent::Smtp),
            Err(_) => Err(Unsent::Late),
        }
    }

    fn message(&self, address: &str, letter: Letter) -> Result<Message, Unsent> {
        // `Address` has no line ends, and no `,` or `<` outside of quotes: one recipient, and no header beside its own.
        let address: Address = address.parse().map_err(|_| Unsent::Address)?;
        let id = format!("<{}@{}>", Uuid::new_v4(), self.from.email.domain());
        // RFC 3834, section 5: no answer by an absence notice.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Ok(Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(letter.subject)
            .date_now()
            .message_id(Some(id))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(letter.text, letter.html))?)
    }
}

/// Refuses a password in clear, and warns of links in clear, except on this machine.
fn check_privacy(smtp: &str) -> Result<(), Error> {
    let url = Url::parse(smtp).map_err(|_| Error::Server { source: None })?;
    let host = url.host_str().ok_or(Error::Server { source: None })?;
    let is_local = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    // `opportunistic` too goes on in clear when somebody on the way takes the offer of TLS out.
    let demands_tls = url.scheme() == "smtps"
        || url.query_pairs().any(|(name, value)| name == "tls" && value == "required");
    if demands_tls || is_local {
        return Ok(());
    }
    if url.password().is_some() {
        return Err(Error::PasswordInClear);
    }
    tracing::warn!(
        "mail.smtp doesn't demand TLS: whoever is on the way to the mail server can read the links"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
