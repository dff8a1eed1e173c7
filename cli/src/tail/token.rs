//! Who follows: an API key or access token, from a flag, a file or the variable `WRIT_TOKEN`. It is in no error, no `Debug` and no
//! list of headers, and its memory is wiped.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio_tungstenite::tungstenite::http::HeaderValue;
use zeroize::Zeroizing;

use super::error::Error;
use super::target::Target;

/// Has the token for those who set neither flag. `config` doesn't know it: it is no setting of a server.
const VARIABLE: &str = "WRIT_TOKEN";
/// Where `cargo dev up` keeps the key for the tools.
const DEVELOPMENT: &str = ".writ/data/api-key";

/// An API key or access token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(Zeroizing<String>);

impl Token {
    fn new(text: &str) -> Token {
        Token(Zeroizing::new(text.trim().to_owned()))
    }

    /// The value of `Authorization`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let text = Zeroizing::new(format!("Bearer {}", *self.0));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    /// A refusal would show the text.
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Token, Infallible> {
        Ok(Token::new(text))
    }
}

/// Where the token comes from.
#[derive(Debug)]
pub(super) enum Credentials {
    Nobody,
    Flag(Token),
    Variable(Token),
    File(PathBuf),
    Development(PathBuf),
}

impl Credentials {
    /// The first of: the flags, the variable, and on this machine the development stack.
    pub(super) fn of(token: Option<Token>, file: Option<PathBuf>, target: &Target) -> Credentials {
        let variable = std::env::var(VARIABLE).ok().map(Zeroizing::new);
        Credentials::choose(
            token,
            file,
            variable.as_deref().map(String::as_str),
            target,
            Path::new(DEVELOPMENT),
        )
    }

    fn choose(
        token: Option<Token>,
        file: Option<PathBuf>,
        variable: Option<&str>,
        target: &Target,
        development: &Path,
    ) -> Credentials {
        match (token, file, variable.map(Token::new)) {
            (Some(token), _, _) if token.0.is_empty() => Credentials::Nobody,
            (Some(token), _, _) => Credentials::Flag(token),
            (None, Some(file), _) => Credentials::File(file),
            (None, None, Some(token)) if !token.0.is_empty() => Credentials::Variable(token),
            (None, None, _) if target.is_loopback() && development.is_file() => {
                Credentials::Development(development.to_owned())
            }
            (None, None, _) => Credentials::Nobody,
        }
    }

    /// The token as it is now: a file may have got another one.
    pub(super) fn read(&self) -> Result<Option<Token>, Error> {
        let token = match self {
            Credentials::Nobody => return Ok(None),
            Credentials::Flag(token) | Credentials::Variable(token) => token.clone(),
            Credentials::File(path) | Credentials::Development(path) => {
                let text = std::fs::read_to_string(path).map(Zeroizing::new);
                Token::new(&text.map_err(|source| Error::TokenFile { path: path.clone(), source })?)
            }
        };
        if token.0.is_empty() || token.header().is_none() {
            return Err(Error::NoToken { origin: self.origin() });
        }
        Ok(Some(token))
    }

    /// Where it comes from, in a sentence.
    pub(super) fn origin(&self) -> String {
        match self {
            Credentials::Nobody => "nobody".to_owned(),
            Credentials::Flag(_) => "--token".to_owned(),
            Credentials::Variable(_) => format!("the variable {VARIABLE}"),
            Credentials::File(path) => format!("the token in {}", path.display()),
            Credentials::Development(path) => format!("the development stack's key in {}", path.display()),
        }
    }

    /// What to do when it is refused.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Credentials::Nobody => {
                "Name a file with an API key by --token-file, or set WRIT_TOKEN; `POST /v1/auth/api-keys` makes keys \
                 (docs/sign-in.md)."
            }
            Credentials::Development(_) => {
                "Is --url the server of this stack? For another one, name a file with its API key by --token-file; `cargo dev up` \
                 makes this one anew when it is deleted."
            }
            _ => {
                "It has expired, was revoked, or is of another server. An access token is good for ten minutes, an API key for \
                 longer: `POST /v1/auth/api-keys` makes one (docs/sign-in.md)."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    #[test]
    fn flags_come_before_the_variable_and_that_before_the_development_stack() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("api-key");
        std::fs::write(&key, "writ_dev\n").unwrap();
        let here = target("http://127.0.0.1:8080");
        let chosen = |token: Option<&str>, file: Option<&str>, variable: Option<&str>, target: &Target| {
            let chosen =
                Credentials::choose(token.map(Token::new), file.map(PathBuf::from), variable, target, &key);
            match chosen {
                Credentials::Nobody => "nobody".to_owned(),
                Credentials::Flag(token) => format!("flag {}", *token.0),
                Credentials::Variable(token) => format!("variable {}", *token.0),
                Credentials::File(path) => format!("file {}", path.display()),
                Credentials::Development(_) => "development".to_owned(),
            }
        };
        assert_eq!(chosen(Some("a"), None, Some("b"), &here), "flag a");
        assert_eq!(chosen(Some(""), None, Some("b"), &here), "nobody");
        assert_eq!(chosen(None, Some("f"), Some("b"), &here), "file f");
        assert_eq!(chosen(None, None, Some("b"), &here), "variable b");
        assert_eq!(chosen(None, None, Some(""), &here), "development");
        assert_eq!(chosen(None, None, None, &here), "development");
        assert_eq!(chosen(None, None, None, &target("http://10.0.0.1:8080")), "nobody");
        std::fs::remove_file(&key).unwrap();
        assert_eq!(chosen(None, None, None, &here), "nobody");
    }

    #[test]
    fn a_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let credentials = Credentials::File(path.clone());
        assert!(matches!(credentials.read(), Err(Error::TokenFile { .. })));
        std::fs::write(&path, " writ_one\n").unwrap();
        let first = credentials.read().unwrap().unwrap();
        assert_eq!(first.header().unwrap(), "Bearer writ_one");
        std::fs::write(&path, "writ_two").unwrap();
        assert_ne!(credentials.read().unwrap().unwrap(), first);
        for none in ["", "\n", "hush hush", "hush\nhush", "hüsh"] {
            std::fs::write(&path, none).unwrap();
            let error = credentials.read().unwrap_err();
            assert!(matches!(error, Error::NoToken { .. }) && !format!("{error:?}{error}").contains("sh h"));
        }
    }

    #[test]
    fn no_debug_text_has_a_token() {
        let token = Token::new("hush");
        let shown = format!("{:?} {:?} {:?}", Credentials::Flag(token.clone()), token.header(), token);
        assert!(!shown.contains("hush"), "{shown}");
    }
}
