//! A mail server (aiosmtpd) that demands STARTTLS and a password and keeps what it gets.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::python::{environment, source};

/// Made by the first test that wants it.
static PYTHON: OnceLock<PathBuf> = OnceLock::new();

const USER: &str = "writ";
/// With what a URL has to escape.
const PASSWORD: &str = "p@ss/word";

/// The server, running or not, and its mails.
#[derive(Debug)]
pub(crate) struct Mailbox {
    port: u16,
    folder: TempDir,
    child: Option<Child>,
}

/// A mail that has come.
#[derive(Debug)]
pub(crate) struct Mail(pub(crate) Value);

impl Mailbox {
    /// A running one.
    pub(crate) fn start() -> Mailbox {
        let mut mailbox = Mailbox::down();
        mailbox.up();
        mailbox
    }

    /// One that doesn't run yet, on a port that is free.
    pub(crate) fn down() -> Mailbox {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("certificate.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Mailbox { port, folder, child: None }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn up(&mut self) {
        let mut child = Command::new(PYTHON.get_or_init(|| environment("smtp_server")))
            .arg(source("smtp_server", "serve.py"))
            .arg(self.port.to_string())
            .arg(self.folder.path())
            .args(["certificate.pem", "key.pem"].map(|name| self.folder.path().join(name)))
            .args([USER, PASSWORD])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), self.port.to_string(), "the mail server listens");
        self.child = Some(child);
    }

    /// What makes a server send its mails there, and trust the certificate.
    pub(crate) fn settings(&self) -> [(&'static str, String); 3] {
        let certificate = self.folder.path().join("certificate.pem");
        [
            ("WRIT_MAIL_SMTP", format!("smtp://{USER}:p%40ss%2Fword@localhost:{}?tls=required", self.port)),
            ("WRIT_MAIL_FROM", "Shop <no-reply@example.org>".to_owned()),
            ("SSL_CERT_FILE", certificate.to_str().unwrap().to_owned()),
        ]
    }

    /// Every mail so far, the oldest first.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        let mut paths: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        paths
            .iter()
            .map(|path| Mail(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()))
            .collect()
    }

    /// The mail with this number, from 0, once it has come.
    pub(crate) async fn mail(&self, nth: usize) -> Mail {
        eventually("a mail comes", async || self.mails().into_iter().nth(nth)).await
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Mail {
    pub(crate) fn text(&self) -> &str {
        self.0["text"].as_str().unwrap()
    }

    /// The values of the headers with this name.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let all = self.0["headers"].as_array().unwrap().iter();
        all.filter(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name))
            .map(|header| header[1].as_str().unwrap())
            .collect()
    }

    /// What the link proves, from behind this start of it; both parts have the same link.
    pub(crate) fn token(&self, start: &str) -> String {
        let (_, rest) = self.text().split_once(start).unwrap_or_else(|| panic!("{start} in {}", self.text()));
        let token = rest.lines().next().unwrap().to_owned();
        assert!(self.0["html"].as_str().unwrap().contains(&format!("href=\"{start}{token}\"")), "{self:?}");
        token
    }
}
