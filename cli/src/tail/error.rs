//! Why following ends with exit code 1, or 2 for what can't be asked for. No text has a token in it.

use std::path::PathBuf;

use crate::serve::BoxError;

/// What to do about it stands in the help.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(super) enum Error {
    #[error("--url can't be used: {detail}")]
    #[diagnostic(help("Give the server's address, such as http://127.0.0.1:8080 or https://shop.example."))]
    Url { detail: String },
    #[error("there are two filters `{name}`")]
    #[diagnostic(help("Give each field and operator once: total[gte]=100 and total[lt]=500 go together."))]
    Repeated { name: String },
    #[error("the token file {} can't be read", path.display())]
    #[diagnostic(help(
        "It holds an API key or an access token, and nothing else. `POST /v1/auth/api-keys` makes keys (docs/sign-in.md)."
    ))]
    TokenFile { path: PathBuf, source: std::io::Error },
    #[error("{origin} has no token: an API key or access token is one word of visible ASCII characters")]
    #[diagnostic(help("`POST /v1/auth/api-keys` makes keys (docs/sign-in.md)."))]
    NoToken { origin: String },
    #[error("it can't start: {action}")]
    #[diagnostic(help("Read the cause below; the limits of the system (ulimit) are the usual suspects."))]
    Start { action: &'static str, source: std::io::Error },
    #[error("no TLS connection can be made: the system's certificates can't be used")]
    #[diagnostic(help(
        "Install the system's CA certificates, or name a bundle in the variable SSL_CERT_FILE."
    ))]
    Tls { source: rustls::Error },
    #[error("there is no server at {url}")]
    #[diagnostic(help("Start one (`cargo dev up`, or `writ serve`), or name its address with --url."))]
    Unreachable { url: String, source: BoxError },
    #[error("there is no TLS with the server at {url}")]
    #[diagnostic(help(
        "Is it an https address, by the name in its certificate? The certificate of a CA of your own goes into a file that the \
         variable SSL_CERT_FILE names."
    ))]
    NoTls { url: String, source: BoxError },
    #[error("the server at {url} has ended the connection at once: {detail}")]
    #[diagnostic(help("Try again; the server's log says why."))]
    Lost { url: String, detail: String },
    #[error("the server at {url} doesn't let anybody follow at the moment: {detail}")]
    #[diagnostic(help("Try again in a moment; {url}/readyz says what the server waits for."))]
    Unavailable { url: String, detail: String },
    #[error("the server refuses the sign-in by {origin}: {detail}")]
    SignIn {
        origin: String,
        detail: String,
        #[help]
        help: &'static str,
    },
    #[error("the server doesn't allow this: {detail}")]
    #[diagnostic(help("Sign in as somebody who may; docs/models.md says what the rules of models are."))]
    Forbidden { detail: String },
    #[error("nothing of `{model}` may be read any more")]
    #[diagnostic(help(
        "The account's roles or the key's scopes have changed; an administrator can say more."
    ))]
    NothingLeft { model: String },
    #[error("{url} is no server with live updates: {detail}")]
    #[diagnostic(help("Give the address of a Writ server, without /v1/live; {url}/docs shows what it has."))]
    NoFeed { url: String, detail: String },
    #[error("{detail}")]
    Asked {
        detail: String,
        #[help]
        help: String,
    },
    #[error("the connection can't go on: {detail}")]
    #[diagnostic(help("Is this `writ` as old as the server? If it is, please report it."))]
    Protocol { detail: String },
    #[error("nothing can be written to standard output")]
    Output { source: std::io::Error },
}
