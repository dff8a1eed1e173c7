//! The server with a certificate, and real clients.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::server::{LIMIT, Running, read, serve, start};
use crate::options::Options;
use crate::server::{Error, Server};
use crate::tls;

/// A folder with a certificate for `localhost`, and what a client must trust to accept it.
pub(super) struct Folder {
    folder: TempDir,
    trusted: CertificateDer<'static>,
}

impl Folder {
    pub(super) fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let mut made = Folder { folder, trusted: CertificateDer::from(Vec::new()) };
        made.renew();
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn renew(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(self.path("certificate.pem"), made.cert.pem()).unwrap();
        self.trusted = made.cert.der().clone();
    }

    pub(super) fn options(&self) -> Options {
        let (certificate, key) = (self.path("certificate.pem"), self.path("key.pem"));
        Options { tls: tls::Options { certificate, key, ..tls::Options::default() }, ..Options::default() }
    }

    pub(super) async fn connect(
        &self,
        server: &Running,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(server.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }
}

/// Asks over HTTP/2 if that was agreed on, else over HTTP/1.1.
async fn ask(stream: TlsStream<TcpStream>, host: &str) -> Response<Incoming> {
    let http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let request = Request::get(format!("https://{host}/healthz")).header("host", host);
    if http_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(format!("https://{host}/healthz"));
        return sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    }
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn clients_get_the_protocol_that_they_ask_for() {
    let folder = Folder::new();
    let server = start(folder.options()).await;
    for (protocols, version, answered) in [
        (&[&b"h2"[..], &b"http/1.1"[..]][..], &rustls::version::TLS13, Version::HTTP_2),
        (&[&b"http/1.1"[..]], &rustls::version::TLS13, Version::HTTP_11),
        (&[], &rustls::version::TLS12, Version::HTTP_11),
        (&[&b"h2"[..]], &rustls::version::TLS12, Version::HTTP_2),
    ] {
        let stream = folder.connect(&server, protocols, &[version]).await.unwrap();
        let response = ask(stream, "localhost").await;
        assert_eq!((response.status(), response.version()), (StatusCode::OK, answered));
        assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_host_is_looked_at_in_http_2_too() {
    let folder = Folder::new();
    let server = start(folder.options()).await;
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let stream = folder.connect(&server, &[protocol], &[&rustls::version::TLS13]).await.unwrap();
        assert_eq!(ask(stream, "evil.example").await.status(), StatusCode::MISDIRECTED_REQUEST);
    }
    server.stop().await;
}

#[tokio::test]
async fn without_tls_nothing_is_answered() {
    let folder = Folder::new();
    let server = start(folder.options()).await;
    let mut stream = server.connect("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut answer = Vec::new();
    // What comes is an alert of TLS, or nothing.
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let mut folder = Folder::new();
    let mut options = folder.options();
    options.tls.reload_ms = 20;
    let server = start(options).await;
    let versions = [&rustls::version::TLS13];
    // Connects with what it trusted when it began.
    let old = folder.connect(&server, &[], &versions).await.unwrap();
    folder.renew();
    let limit = Instant::now() + LIMIT;
    while folder.connect(&server, &[], &versions).await.is_err() {
        assert!(Instant::now() < limit, "the new one is served");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask(old, "localhost").await.status(), StatusCode::OK, "an open connection goes on");

    // A key that doesn't belong to the certificate, then no key at all: many times the pause to look at.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path("key.pem"), other.signing_key.serialize_pem()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(folder.connect(&server, &[], &versions).await.is_ok(), "the one before stays");
    std::fs::remove_file(folder.path("key.pem")).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(folder.connect(&server, &[], &versions).await.is_ok(), "the one before stays");
    folder.renew();
    let limit = Instant::now() + LIMIT;
    while folder.connect(&server, &[], &versions).await.is_err() {
        assert!(Instant::now() < limit, "and what is right again is taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_renewed_during_the_start_is_served() {
    let mut folder = Folder::new();
    let mut options = Options { listen: "127.0.0.1:0".into(), ..folder.options() };
    options.tls.reload_ms = 20;
    let (api, _) = super::api(&options);
    let server = Server::bind(options).await.unwrap();
    folder.renew();
    let server = serve(server, api);
    let limit = Instant::now() + LIMIT;
    while folder.connect(&server, &[], &[&rustls::version::TLS13]).await.is_err() {
        assert!(Instant::now() < limit, "the new one is served");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_holds_up_nobody_and_is_cut() {
    let folder = Folder::new();
    let mut options = folder.options();
    options.tls.handshake_timeout_ms = 300;
    let server = start(options).await;
    let silent = server.connect("").await;
    let half = server.connect("\u{16}\u{3}\u{1}").await;
    let stream = folder.connect(&server, &[], &[&rustls::version::TLS13]).await.unwrap();
    assert_eq!(ask(stream, "localhost").await.status(), StatusCode::OK);
    assert_eq!(read(silent).await, "");
    assert_eq!(read(half).await, "");
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_hangs_does_not_hold_up_the_end() {
    let folder = Folder::new();
    let mut options = folder.options();
    options.tls.handshake_timeout_ms = 3_600_000;
    options.shutdown_timeout_ms = 3_600_000;
    let server = start(options).await;
    let mut silent = server.connect("\u{16}").await;
    // The server has it once a later client is served.
    let stream = folder.connect(&server, &[], &[&rustls::version::TLS13]).await.unwrap();
    drop(stream);
    server.stop().await;
    let _ = silent.write_all(b"x").await;
}

#[tokio::test]
async fn an_open_request_over_http_2_is_finished_when_the_server_stops() {
    let folder = Folder::new();
    let server = start(folder.options()).await;
    let stream = folder.connect(&server, &[b"h2"], &[&rustls::version::TLS13]).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (sent, body) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = futures::stream::unfold(body, async |mut body| {
        let chunk = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(chunk)), body))
    });
    let body = http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(Box::pin(frames)));
    let request = Request::post("https://localhost/v1/note/write").body(body).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    sent.send(Bytes::from_static(b"{")).await.unwrap();
    // The second is taken only when the first is on its way.
    sent.send(Bytes::from_static(b"}")).await.unwrap();
    server.cancel.cancel();
    drop(sent);
    let status = answer.await.unwrap().unwrap().status();
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said_at_the_start() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| std::fs::write(folder.path(name), text).unwrap();
    write("garbage.pem", "no PEM");
    write(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    write("der.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write("other.pem", &other.signing_key.serialize_pem());
    for (certificate, key, named) in [
        ("certificate.pem", "", "http.tls.key is missing"),
        ("", "key.pem", "http.tls.certificate is missing"),
        ("nothing.pem", "key.pem", "nothing.pem can't be read"),
        ("certificate.pem", "nothing.pem", "nothing.pem can't be read"),
        ("garbage.pem", "key.pem", "http.tls.certificate: "),
        ("key.pem", "key.pem", "key.pem has no certificate in PEM"),
        ("certificate.pem", "garbage.pem", "garbage.pem has no unencrypted private key in PEM"),
        ("certificate.pem", "encrypted.pem", "encrypted.pem has no unencrypted private key in PEM"),
        ("certificate.pem", "other.pem", "can't be used with the key in"),
        ("der.pem", "key.pem", "can't be used with the key in"),
    ] {
        let path = |name: &str| if name.is_empty() { PathBuf::new() } else { folder.path(name) };
        let tls = tls::Options { certificate: path(certificate), key: path(key), ..tls::Options::default() };
        let error = Server::bind(Options { listen: "127.0.0.1:0".into(), tls, ..Options::default() }).await;
        let error = error.expect_err(named);
        assert!(matches!(error, Error::Tls(_)) && error.to_string().contains(named), "{error}");
    }
}
