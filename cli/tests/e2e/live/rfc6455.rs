//! The WebSocket layer against RFC 6455, byte by byte: a client that writes its own frames, right ones and wrong ones.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::APP;
use crate::harness::{Client, LIMIT, shared};

const CONTINUE: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FINAL: u8 = 0x80;

/// What a client sends, and what must not be.
#[derive(Clone)]
struct Frame {
    /// Final bit, reserved bits and opcode.
    first: u8,
    payload: Vec<u8>,
    masked: bool,
    /// A length that isn't the payload's.
    claimed: Option<u64>,
}

fn frame(first: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame { first, payload: payload.as_ref().to_vec(), masked: true, claimed: None }
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let mask = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match self.claimed.unwrap_or(self.payload.len() as u64) {
            length @ 0..=125 => bytes.push(mask | length as u8),
            length @ 126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        if !self.masked {
            bytes.extend(&self.payload);
            return bytes;
        }
        let key = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend(key);
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }
}

/// A connection on which a socket is open.
struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The connection was cut, which can take away what was sent before.
    was_reset: bool,
}

/// A frame of the server: final bit and opcode, payload.
type Got = (u8, Vec<u8>);

impl Raw {
    async fn connect(client: &Client) -> TcpStream {
        TcpStream::connect(client.base().strip_prefix("http://").unwrap()).await.unwrap()
    }

    /// An open socket; its welcome is read.
    async fn open(client: &Client) -> Raw {
        let mut raw = Raw { stream: Raw::connect(client).await, unread: Vec::new(), was_reset: false };
        let (status, head) = raw.handshake(&handshake(&[])).await;
        assert_eq!(status, 101, "{head}");
        let (first, payload) = raw.frame().await.expect("a welcome");
        let welcome: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((first, welcome["type"].as_str()), (FINAL | TEXT, Some("welcome")));
        raw
    }

    /// Sends a head and reads one: the status and the text.
    async fn handshake(&mut self, head: &str) -> (u16, String) {
        self.write(head.as_bytes()).await;
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await, "a head comes");
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase())
    }

    /// The server may have closed in the middle; what it said is read later.
    async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    async fn send(&mut self, frames: &[Frame]) {
        for frame in frames {
            self.write(&frame.bytes()).await;
        }
    }

    /// `false`: the end.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(LIMIT, self.stream.read(&mut buffer)).await.expect("something comes");
        self.was_reset |= read.is_err();
        let read = read.unwrap_or(0);
        self.unread.extend(&buffer[..read]);
        read > 0
    }

    /// The next frame, or `None` at the end.
    async fn frame(&mut self) -> Option<Got> {
        loop {
            if let [first, second, rest @ ..] = self.unread.as_slice() {
                assert_eq!(second & 0x80, 0, "a server must not mask");
                let (length, head) = match (second & 0x7f, rest) {
                    (126, [a, b, ..]) => (Some(usize::from(u16::from_be_bytes([*a, *b]))), 4),
                    (127, [eight @ .., _]) if eight.len() >= 8 => {
                        (Some(u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize), 10)
                    }
                    (126 | 127, _) => (None, 0),
                    (length, _) => (Some(usize::from(length)), 2),
                };
                if let Some(length) = length.filter(|length| self.unread.len() >= head + length) {
                    let got = (*first, self.unread[head..head + length].to_vec());
                    self.unread.drain(..head + length);
                    return Some(got);
                }
            }
            if !self.more().await {
                assert!(self.unread.is_empty(), "half a frame");
                return None;
            }
        }
    }

    /// The next frame that isn't a ping of the server's own.
    async fn next(&mut self) -> Option<Got> {
        loop {
            match self.frame().await {
                Some((first, _)) if first == FINAL | PING => {}
                other => return other,
            }
        }
    }

    /// The next message, which has to be a whole text.
    async fn message(&mut self) -> Value {
        let (first, payload) = self.next().await.expect("a message");
        assert_eq!(first, FINAL | TEXT, "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    /// The code with which the server closes now; then nothing follows.
    async fn closed(&mut self) -> Option<u16> {
        let (first, payload) = self.next().await.expect("a close frame");
        assert_eq!(first, FINAL | CLOSE, "{}", String::from_utf8_lossy(&payload));
        assert!(payload.len() <= 125 && payload.len() != 1);
        let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        if let Some(reason) = payload.get(2..) {
            std::str::from_utf8(reason).expect("a reason is UTF-8");
        }
        code
    }

    async fn ended(&mut self) {
        assert_eq!(self.next().await, None, "nothing follows a close");
        assert!(!self.was_reset, "a client can lose what it hasn't read yet");
    }
}

/// The head of an opening handshake; `changes` replace a header, or take it away.
fn handshake(changes: &[(&str, Option<&str>)]) -> String {
    let mut headers = vec![
        ("Host", Some("localhost")),
        ("Connection", Some("Upgrade")),
        ("Upgrade", Some("websocket")),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ==")),
        ("Sec-WebSocket-Version", Some("13")),
        ("Sec-WebSocket-Protocol", Some("writ.v1")),
    ];
    for (name, value) in changes {
        headers.retain(|(known, _)| known != name);
        headers.push((name, *value));
    }
    let lines = headers.iter().filter_map(|(name, value)| Some(format!("{name}: {}\r\n", (*value)?)));
    format!("GET /v1/live HTTP/1.1\r\n{}\r\n", lines.collect::<String>())
}

fn ping_message() -> String {
    json!({ "type": "ping" }).to_string()
}

/// Whether the socket answers.
async fn is_alive(raw: &mut Raw) {
    raw.send(&[frame(FINAL | TEXT, ping_message())]).await;
    assert_eq!(raw.message().await["type"], "pong");
}

#[tokio::test]
async fn section_4_the_opening_handshake() {
    let client = shared(&APP).await;
    let mut raw = Raw { stream: Raw::connect(&client).await, unread: Vec::new(), was_reset: false };
    let (status, head) = raw.handshake(&handshake(&[])).await;
    assert_eq!(status, 101);
    // The example of section 1.3.
    for line in [
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-protocol: writ.v1",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(!head.contains("sec-websocket-extensions"), "{head}");

    // What may be written in other ways.
    for changes in [
        vec![("Connection", Some("keep-alive, upgrade"))],
        vec![("Upgrade", Some("WebSocket"))],
        vec![("Sec-WebSocket-Protocol", Some("graphql-ws, writ.v1"))],
        vec![("Sec-WebSocket-Extensions", Some("permessage-deflate; client_max_window_bits"))],
    ] {
        let mut raw = Raw { stream: Raw::connect(&client).await, unread: Vec::new(), was_reset: false };
        let (status, head) = raw.handshake(&handshake(&changes)).await;
        assert_eq!(status, 101, "{changes:?}");
        assert!(!head.contains("sec-websocket-extensions"), "none is agreed on: {head}");
    }
    for (name, value) in [
        ("Connection", None),
        ("Connection", Some("close")),
        ("Upgrade", None),
        ("Upgrade", Some("h2c")),
        ("Sec-WebSocket-Key", None),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZQ==")),
        ("Sec-WebSocket-Key", Some("not base64!")),
        ("Sec-WebSocket-Version", None),
        ("Sec-WebSocket-Version", Some("8")),
        ("Sec-WebSocket-Version", Some("14")),
        ("Sec-WebSocket-Protocol", None),
        ("Sec-WebSocket-Protocol", Some("writ.v2")),
    ] {
        let mut raw = Raw { stream: Raw::connect(&client).await, unread: Vec::new(), was_reset: false };
        let (status, head) = raw.handshake(&handshake(&[(name, value)])).await;
        assert_eq!(status, 400, "{name}: {value:?}");
        assert!(head.contains("application/problem+json"), "{head}");
        // Section 4.4: the version that is understood.
        assert!(head.contains("sec-websocket-version: 13"), "{head}");
    }
}

#[tokio::test]
async fn section_5_4_fragments_are_put_together_and_control_frames_may_come_in_between() {
    let client = shared(&APP).await;
    let mut raw = Raw::open(&client).await;
    let text = ping_message();
    let bytes = text.as_bytes();
    raw.send(&[
        frame(TEXT, &bytes[..3]),
        frame(CONTINUE, &bytes[3..7]),
        frame(FINAL | CONTINUE, &bytes[7..]),
    ])
    .await;
    assert_eq!(raw.message().await["type"], "pong");

    // In fragments of one byte and of none.
    let pieces: Vec<Frame> = std::iter::once(frame(TEXT, b""))
        .chain(bytes.iter().map(|byte| frame(CONTINUE, [*byte])))
        .chain([frame(FINAL | CONTINUE, b"")])
        .collect();
    raw.send(&pieces).await;
    assert_eq!(raw.message().await["type"], "pong");

    raw.send(&[
        frame(TEXT, &bytes[..5]),
        frame(FINAL | PING, b"between"),
        frame(FINAL | PONG, b"nobody asked"),
        frame(FINAL | CONTINUE, &bytes[5..]),
    ])
    .await;
    assert_eq!(raw.next().await, Some((FINAL | PONG, b"between".to_vec())));
    assert_eq!(raw.message().await["type"], "pong");

    // A continuation of nothing; a new message within another.
    for wrong in [
        vec![frame(FINAL | CONTINUE, b"x")],
        vec![frame(CONTINUE, b"x")],
        vec![frame(TEXT, b"{"), frame(FINAL | TEXT, b"}")],
        vec![frame(TEXT, b"{"), frame(FINAL | BINARY, b"}")],
        vec![frame(TEXT, b"{"), frame(FINAL | CONTINUE, b"}"), frame(FINAL | CONTINUE, b"")],
    ] {
        let mut raw = Raw::open(&client).await;
        raw.send(&wrong).await;
        if wrong.len() == 3 {
            assert_eq!(raw.message().await["type"], "error", "the first message was whole");
        }
        assert_eq!(raw.closed().await, Some(1002));
        raw.ended().await;
    }
}

#[tokio::test]
async fn section_5_1_frames_that_are_not_masked_are_refused() {
    let client = shared(&APP).await;
    for opcode in [TEXT, PING, CLOSE] {
        let mut raw = Raw::open(&client).await;
        raw.send(&[Frame { masked: false, ..frame(FINAL | opcode, b"") }]).await;
        assert_eq!(raw.closed().await, Some(1002), "{opcode}");
        raw.ended().await;
    }
}

#[tokio::test]
async fn section_5_2_reserved_bits_and_opcodes_are_refused() {
    let client = shared(&APP).await;
    for first in [
        FINAL | 0x40 | TEXT,
        FINAL | 0x20 | TEXT,
        FINAL | 0x10 | TEXT,
        FINAL | 0x70 | TEXT,
        FINAL | 0x40 | PING,
        FINAL | 0x3,
        FINAL | 0x7,
        FINAL | 0xB,
        FINAL | 0xF,
    ] {
        let mut raw = Raw::open(&client).await;
        raw.send(&[frame(first, b"")]).await;
        assert_eq!(raw.closed().await, Some(1002), "{first:#x}");
        raw.ended().await;
    }
}

#[tokio::test]
async fn section_5_5_control_frames_are_short_and_whole() {
    let client = shared(&APP).await;
    let mut raw = Raw::open(&client).await;
    for payload in [Vec::new(), b"hello".to_vec(), vec![0, 0xff, 0xfe], vec![b'p'; 125]] {
        raw.send(&[frame(FINAL | PING, &payload)]).await;
        assert_eq!(raw.next().await, Some((FINAL | PONG, payload)), "a pong has what the ping had");
    }
    // Section 5.5.3: a pong that nobody asked for is no fault, and has no answer.
    raw.send(&[frame(FINAL | PONG, b"x")]).await;
    is_alive(&mut raw).await;

    for wrong in [
        frame(FINAL | PING, [b'p'; 126]),
        frame(FINAL | PONG, [b'p'; 126]),
        frame(FINAL | CLOSE, [3, 0xe8].into_iter().chain([b'r'; 124]).collect::<Vec<u8>>()),
        frame(PING, b"half"),
        frame(PONG, b"half"),
        frame(CLOSE, [3, 0xe8]),
    ] {
        let mut raw = Raw::open(&client).await;
        raw.send(std::slice::from_ref(&wrong)).await;
        assert_eq!(raw.closed().await, Some(1002), "{:#x}", wrong.first);
        raw.ended().await;
    }
}

#[tokio::test]
async fn section_5_6_and_8_1_texts_are_utf_8() {
    let client = shared(&APP).await;
    let mut raw = Raw::open(&client).await;
    // A name of four bytes, cut in each place.
    let text = json!({ "type": "unsubscribe", "sub": "a😀" }).to_string();
    for cut in 1..text.len() {
        let (head, tail) = text.as_bytes().split_at(cut);
        raw.send(&[frame(TEXT, head), frame(FINAL | CONTINUE, tail)]).await;
        let error = raw.message().await;
        assert_eq!((error["type"].as_str(), error["sub"].as_str()), (Some("error"), Some("a😀")), "{cut}");
    }
    for wrong in [
        vec![frame(FINAL | TEXT, b"\"\xff\"")],
        // An overlong slash, a surrogate, beyond the last code point, a sequence that ends too early.
        vec![frame(FINAL | TEXT, b"\"\xc0\xaf\"")],
        vec![frame(FINAL | TEXT, b"\"\xed\xa0\x80\"")],
        vec![frame(FINAL | TEXT, b"\"\xf4\x90\x80\x80\"")],
        vec![frame(FINAL | TEXT, b"\"\xf0\x9f\x98")],
        vec![frame(TEXT, b"\"\xf0\x9f"), frame(FINAL | CONTINUE, b"\x98\"")],
        // It is told before the rest has come.
        vec![frame(TEXT, b"\"\xff"), frame(CONTINUE, b"more")],
    ] {
        let mut raw = Raw::open(&client).await;
        raw.send(&wrong).await;
        assert_eq!(raw.closed().await, Some(1007));
        raw.ended().await;
    }
}

#[tokio::test]
async fn only_texts_are_messages() {
    let client = shared(&APP).await;
    for frames in [
        vec![frame(FINAL | BINARY, ping_message())],
        vec![frame(BINARY, b"a"), frame(FINAL | CONTINUE, b"b")],
    ] {
        let mut raw = Raw::open(&client).await;
        raw.send(&frames).await;
        assert_eq!(raw.closed().await, Some(1003));
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009_whatever_follows() {
    let client = shared(&APP).await;
    let limit = 64 * 1024;
    // Exactly the limit is taken: what stands in it isn't JSON, and the socket goes on.
    let mut raw = Raw::open(&client).await;
    raw.send(&[frame(FINAL | TEXT, vec![b' '; limit])]).await;
    assert_eq!(raw.message().await["type"], "error");
    is_alive(&mut raw).await;

    let huge = Frame { claimed: Some(u64::MAX >> 1), ..frame(FINAL | TEXT, b"") };
    let many: Vec<Frame> =
        std::iter::once(frame(TEXT, b"")).chain((0..70).map(|_| frame(CONTINUE, [b'a'; 1024]))).collect();
    for frames in [
        vec![frame(FINAL | TEXT, vec![b'a'; limit + 1])],
        // Half a megabyte that nobody reads as a message, and the close frame still arrives.
        vec![frame(FINAL | TEXT, vec![b'a'; 512 * 1024])],
        vec![huge],
        many,
    ] {
        let mut raw = Raw::open(&client).await;
        raw.send(&frames).await;
        assert_eq!(raw.closed().await, Some(1009));
        raw.ended().await;
    }
}

#[tokio::test]
async fn section_7_the_closing_handshake() {
    let client = shared(&APP).await;
    let close =
        |code: u16, reason: &[u8]| frame(FINAL | CLOSE, [code.to_be_bytes().as_slice(), reason].concat());
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999] {
        let mut raw = Raw::open(&client).await;
        raw.send(&[close(code, "vorbei ✓".as_bytes()), frame(FINAL | TEXT, ping_message())]).await;
        assert_eq!(raw.closed().await, Some(code), "the code is echoed");
        raw.ended().await;
    }
    let mut raw = Raw::open(&client).await;
    raw.send(&[frame(FINAL | CLOSE, b"")]).await;
    assert_eq!(raw.closed().await, None, "none for none");
    raw.ended().await;

    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let mut raw = Raw::open(&client).await;
        raw.send(&[close(code, b"")]).await;
        assert_eq!(raw.closed().await, Some(1002), "{code} must not be sent");
        raw.ended().await;
    }
    let mut raw = Raw::open(&client).await;
    raw.send(&[frame(FINAL | CLOSE, [3])]).await;
    assert_eq!(raw.closed().await, Some(1002), "half a code");
    raw.ended().await;
    let mut raw = Raw::open(&client).await;
    raw.send(&[close(1000, b"\xff\xfe")]).await;
    assert_eq!(raw.closed().await, Some(1007), "a reason is UTF-8");
    raw.ended().await;
}

#[tokio::test]
async fn frames_may_come_in_any_pieces() {
    let client = shared(&APP).await;
    let mut raw = Raw::open(&client).await;
    for byte in frame(FINAL | TEXT, ping_message()).bytes() {
        raw.write(&[byte]).await;
        raw.stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.message().await["type"], "pong");
    // And many in one.
    let all: Vec<u8> = (0..200).flat_map(|_| frame(FINAL | TEXT, ping_message()).bytes()).collect();
    raw.write(&all).await;
    for _ in 0..200 {
        assert_eq!(raw.message().await["type"], "pong");
    }
    // With the head of the handshake in one piece.
    let mut early = Raw { stream: Raw::connect(&client).await, unread: Vec::new(), was_reset: false };
    let head = handshake(&[("Sec-WebSocket-Key", Some(&STANDARD.encode([7; 16])))]);
    let bytes = [head.as_bytes(), &frame(FINAL | TEXT, ping_message()).bytes()].concat();
    early.write(&bytes).await;
    let (status, _) = early.handshake("").await;
    assert_eq!(status, 101);
    assert_eq!(early.message().await["type"], "welcome");
    assert_eq!(early.message().await["type"], "pong");
}

#[tokio::test]
async fn a_client_that_goes_without_a_word_leaves_nothing_behind() {
    let client = shared(&APP).await;
    let raw = Raw::open(&client).await;
    drop(raw);
    // The server is well, and takes the next one.
    let mut raw = Raw::open(&client).await;
    is_alive(&mut raw).await;
    let half = Raw::open(&client).await;
    let mut stream = half.stream;
    stream.write_all(&frame(TEXT, b"half of a mess").bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the server closes as well");
}

/// A client that reads and answers nothing.
pub(super) struct Silent(Raw);

pub(super) async fn silent(address: &str) -> Silent {
    let mut raw =
        Raw { stream: TcpStream::connect(address).await.unwrap(), unread: Vec::new(), was_reset: false };
    let (status, _) = raw.handshake(&handshake(&[])).await;
    assert_eq!(status, 101);
    Silent(raw)
}

impl Silent {
    /// Reads on until the server closes: how many pings came before, and the code.
    pub(super) async fn closed_at_last(&mut self) -> (usize, Option<u16>) {
        let mut pings = 0;
        while let Some((first, payload)) = self.0.frame().await {
            match first {
                first if first == FINAL | PING => pings += 1,
                first if first == FINAL | CLOSE => {
                    return (pings, Some(u16::from_be_bytes([payload[0], payload[1]])));
                }
                _ => {}
            }
        }
        (pings, None)
    }
}
