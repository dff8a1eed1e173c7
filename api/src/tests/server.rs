//! The server on a real port: connections, slow clients, and how it stops.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::Api;
use crate::options::Options;
use crate::server::Server;

/// Longer than anything here takes on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) cancel: CancellationToken,
    serving: JoinHandle<()>,
}

pub(super) async fn start(options: Options) -> Running {
    // A closed channel keeps its last value, so the sender isn't needed.
    let (api, _) = super::api(&options);
    let server = Server::bind(Options { listen: "127.0.0.1:0".into(), ..options }).await.unwrap();
    serve(server, api)
}

pub(super) fn serve(server: Server, api: Api) -> Running {
    let (address, cancel) = (server.address(), CancellationToken::new());
    let serving = tokio::spawn(server.serve(api, cancel.clone()));
    Running { address, cancel, serving }
}

impl Running {
    pub(super) async fn connect(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Stops it.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        self.stopped().await;
    }

    async fn stopped(self) {
        tokio::time::timeout(LIMIT, self.serving).await.expect("the server stops").unwrap();
    }
}

/// Everything until the server closes the connection.
pub(super) async fn read(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut text)).await.expect("the connection ends").unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn it_answers_while_everything_else_is_missing() {
    let server = start(Options::default()).await;
    let stream = server.connect("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let answer = read(stream).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"kafka\""), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_large_body_gets_its_answer_though_it_is_not_taken() {
    let server = start(Options { body_limit: 1024, ..Options::default() }).await;
    let size = 15 * 1024;
    let head = format!(
        "POST /v1/note/write HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    );
    let stream = server.connect(&(head + &"x".repeat(size))).await;
    let answer = read(stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn an_open_request_is_finished_when_the_server_stops() {
    let server = start(Options::default()).await;
    let head = "POST /v1/note/write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = server.connect(head).await;
    // The server reads the body now, so the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.cancel.cancel();
    stream.write_all(b"{}").await.unwrap();
    let answer = read(stream).await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn a_request_that_goes_on_too_long_is_cut_when_the_server_stops() {
    let server = start(Options { shutdown_timeout_ms: 50, ..Options::default() }).await;
    let head = "POST /v1/note/write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = server.connect(head).await;
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    server.stop().await;
    assert_eq!(read(stream).await, "", "cut without an answer");
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_a_place() {
    let server = start(Options { max_connections: 1, ..Options::default() }).await;
    let first = server.connect("").await;
    let second =
        server.connect("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let mut second = tokio::spawn(read(second));
    tokio::time::timeout(Duration::from_millis(50), &mut second)
        .await
        .expect_err("the first has the only place");
    drop(first);
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
    server.stop().await;
}
