//! Clients of HTTP/2 that do what no honest client does: frames by hand (RFC 9113), over TLS.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::server::{LIMIT, Running, start};
use super::tls::Folder;
use crate::options::Options;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method: GET`, `:scheme: https`, `:path: /`, and `:authority: localhost` (RFC 7541).
const GET: &[u8] = b"\x82\x87\x84\x41\x09localhost";
/// A command: `:method: POST`, `:path: /v1/note/write`.
const POST: &[u8] = b"\x83\x87\x44\x0e/v1/note/write\x41\x09localhost";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

async fn connect(folder: &Folder, server: &Running) -> TlsStream<TcpStream> {
    folder.connect(server, &[b"h2"], &[&rustls::version::TLS13]).await.unwrap()
}

/// A client that has said what every client says first.
async fn begin(folder: &Folder, server: &Running) -> TlsStream<TcpStream> {
    let mut stream = connect(folder, server).await;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    stream
}

/// Kind, stream and payload of the next frame. `None`: the connection has ended.
async fn next(stream: &mut TlsStream<TcpStream>) -> Option<(u8, u32, Vec<u8>)> {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    };
    tokio::time::timeout(LIMIT, read).await.expect("something comes")
}

async fn find(stream: &mut TlsStream<TcpStream>, kind: u8) -> (u32, Vec<u8>) {
    loop {
        match next(stream).await {
            Some((found, stream, payload)) if found == kind => return (stream, payload),
            Some(_) => {}
            None => panic!("no frame of kind {kind}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_resets_all_it_opens_is_cut() {
    let folder = Folder::new();
    let server = start(folder.options()).await;
    let mut stream = begin(&folder, &server).await;
    let mut flood = Vec::new();
    for id in (1..4_000).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, GET));
        flood.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
    }
    // It may be cut before it has sent everything.
    let _ = stream.write_all(&flood).await;
    let (_, payload) = find(&mut stream, GOAWAY).await;
    assert_eq!(payload[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    server.stop().await;
}

#[tokio::test]
async fn a_client_has_so_many_requests_at_once() {
    let folder = Folder::new();
    let server = start(Options { max_streams: 2, ..folder.options() }).await;
    let mut stream = begin(&folder, &server).await;
    let (_, settings) = find(&mut stream, SETTINGS).await;
    let limit = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("it is announced");
    assert_eq!(limit[2..], 2_u32.to_be_bytes());
    // Three requests whose bodies never come.
    for id in [1, 3, 5] {
        stream.write_all(&frame(HEADERS, END_HEADERS, id, POST)).await.unwrap();
    }
    let (refused, reason) = find(&mut stream, RST_STREAM).await;
    assert_eq!((refused, &reason[..]), (5, &7_u32.to_be_bytes()[..]), "REFUSED_STREAM");
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_ping_is_cut() {
    let folder = Folder::new();
    let server = start(Options { ping_interval_ms: 200, ..folder.options() }).await;
    let mut stream = begin(&folder, &server).await;
    while next(&mut stream).await.is_some() {}
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_begins_is_cut() {
    let folder = Folder::new();
    let server = start(Options { head_timeout_ms: 300, ..folder.options() }).await;
    let mut silent = connect(&folder, &server).await;
    let mut half = connect(&folder, &server).await;
    half.write_all(&PREFACE[..20]).await.unwrap();
    while next(&mut silent).await.is_some() {}
    while next(&mut half).await.is_some() {}
    server.stop().await;
}

#[tokio::test]
async fn headers_have_a_size() {
    let folder = Folder::new();
    let server = start(Options { head_limit: 4_096, ..folder.options() }).await;
    let stream = connect(&folder, &server).await;
    let (mut sender, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (size, status) in [(3_000, Some(StatusCode::OK)), (5_000, None)] {
        let request = Request::get("https://localhost/healthz").header("x-a", "b".repeat(size));
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await;
        // A client that knows the limit gives up by itself; one that doesn't gets 431.
        let status_of = answer.ok().map(|response| response.status());
        let refused = [None, Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)];
        match status {
            Some(_) => assert_eq!(status_of, status),
            None => assert!(refused.contains(&status_of), "{status_of:?}"),
        }
    }
    drop(sender);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_gives_its_place_back() {
    let folder = Folder::new();
    let server = start(Options { write_timeout_ms: 500, max_batches: 1, ..folder.options() }).await;
    let stream = connect(&folder, &server).await;
    // It lets so little come while it reads nothing.
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(16 * 1024);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // A megabyte of answers.
    let lines = Bytes::from("no JSON\n".repeat(8_000));
    let mut batch = async || {
        let request = Request::post("https://localhost/v1/commands").body(Full::new(lines.clone())).unwrap();
        sender.ready().await.unwrap();
        sender.send_request(request).await.unwrap()
    };
    let deaf = batch().await;
    assert_eq!(deaf.status(), StatusCode::OK);
    assert_eq!(batch().await.status(), StatusCode::SERVICE_UNAVAILABLE, "the first has the only place");
    let limit = Instant::now() + LIMIT;
    while batch().await.status() != StatusCode::OK {
        assert!(Instant::now() < limit, "the place is free again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(deaf);
    server.cancel.cancel();
}
