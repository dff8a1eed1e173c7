//! Clients that are slow, large, many, or don't listen, on real sockets.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::server::{LIMIT, read, start};
use crate::options::Options;
use crate::rate_limit;

const PING: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The answer up to its end, or what came until the connection ended otherwise.
async fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A client that still sends when it is cut may see a reset.
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("it ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_head_has_a_size() {
    let options = Options { head_limit: 4_096, max_headers: 10, uri_limit: 1_000, ..Options::default() };
    let server = start(options).await;
    let many = |count: usize| "X-A: b\r\n".repeat(count);
    for (path, headers, status) in [
        ("/healthz".to_owned(), many(8), "200"),
        ("/healthz".to_owned(), many(9), "431"),
        ("/healthz".to_owned(), format!("X-A: {}\r\n", "b".repeat(3_900)), "200"),
        ("/healthz".to_owned(), format!("X-A: {}\r\n", "b".repeat(4_100)), "431"),
        (format!("/healthz?{}", "a".repeat(1_000 - 9)), String::new(), "200"),
        (format!("/healthz?{}", "a".repeat(1_000 - 8)), String::new(), "414"),
    ] {
        let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
        // `Host` and `Connection` are headers, too.
        let got = answer(server.connect(&text).await).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {got}");
        assert_eq!(status == "414", got.contains("urn:writ:problem:uri-too-long"), "{got}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_cut() {
    let server = start(Options { head_timeout_ms: 300, ..Options::default() }).await;
    let silent = server.connect("").await;
    let mut slow = server.connect("GET /healthz HTTP/1.1\r\n").await;
    let started = Instant::now();
    let (silent, slow) = tokio::join!(answer(silent), async {
        // Each byte comes in time; all together don't.
        for byte in
            b"Host: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        answer(slow).await
    });
    assert!(started.elapsed() < LIMIT);
    assert_eq!(silent, "");
    assert!(!slow.contains("200 OK"), "{slow}");
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() {
    let server = start(Options { head_timeout_ms: 300, ..Options::default() }).await;
    let got = answer(server.connect(&PING.replace("Connection: close\r\n", "")).await).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_gets_408() {
    let server = start(Options { body_timeout_ms: 200, ..Options::default() }).await;
    let head =
        "POST /v1/note/write HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{";
    let got = answer(server.connect(head).await).await;
    assert!(got.starts_with("HTTP/1.1 408") && got.contains("request-timeout"), "{got}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let options = Options { write_timeout_ms: 300, max_connections: 1, ..Options::default() };
    let server = start(options).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = socket.connect(server.address).await.unwrap();
    // Far more than the system keeps for a connection.
    let ask = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    deaf.write_all(ask.as_bytes()).await.unwrap();
    // It has the only place. This one is served when it has lost it.
    let got = read(server.connect(PING).await).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    drop(deaf);
    server.stop().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let limits = rate_limit::Options { loopback: true, ..rate_limit::Options::default() };
    let server = start(Options { max_connections_per_address: 2, limits, ..Options::default() }).await;
    let first = server.connect("").await;
    let second = server.connect("").await;
    assert_eq!(answer(server.connect(PING).await).await, "", "closed without an answer");
    drop((first, second));
    let limit = Instant::now() + LIMIT;
    while answer(server.connect(PING).await).await.is_empty() {
        assert!(Instant::now() < limit, "there is a place again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}
