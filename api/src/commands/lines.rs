//! NDJSON in: a body of any length, cut into lines of limited length, in bounded memory.

use axum::body::{Body, Bytes};
use bytes::{Buf, BytesMut};
use futures::stream::{self, Stream};
use http_body_util::BodyExt;

use crate::app::Shared;
use crate::body::{broken, too_large};
use crate::problem::{Kind, Problem};

/// Cuts chunks into lines. Holds at most one line and one chunk.
#[derive(Debug)]
struct Splitter {
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line end.
    scanned: usize,
    /// The line is over the limit; its rest is thrown away.
    skipping: bool,
    limit: usize,
}

/// A line over the limit.
#[derive(Debug, PartialEq, Eq)]
struct TooLong;

impl Splitter {
    fn new(limit: usize) -> Self {
        Splitter { buffer: BytesMut::new(), scanned: 0, skipping: false, limit }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line, without its end. `None`: push more first.
    fn next(&mut self) -> Option<Result<Bytes, TooLong>> {
        loop {
            match self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    let line = self.buffer.split_to(self.scanned + at);
                    self.buffer.advance(1);
                    self.scanned = 0;
                    if std::mem::take(&mut self.skipping) {
                        continue;
                    }
                    if line.len() > self.limit {
                        return Some(Err(TooLong));
                    }
                    if !is_blank(&line) {
                        return Some(Ok(line.freeze()));
                    }
                }
                None if self.skipping => {
                    self.buffer.clear();
                    return None;
                }
                None if self.buffer.len() > self.limit => {
                    self.buffer.clear();
                    self.scanned = 0;
                    self.skipping = true;
                    return Some(Err(TooLong));
                }
                None => {
                    self.scanned = self.buffer.len();
                    return None;
                }
            }
        }
    }

    /// The last line, if the body doesn't end with a line end. Call after [`Splitter::next`] gave `None`.
    fn finish(self) -> Option<Bytes> {
        (!self.skipping && !is_blank(&self.buffer)).then(|| self.buffer.freeze())
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// The lines of the body. Blank lines are left out. A problem that ends the reading is the last item.
pub(crate) fn read(body: Body, app: Shared) -> impl Stream<Item = Result<Bytes, Problem>> + Send {
    let reader = Reader { splitter: Splitter::new(app.options.body_limit), body, app };
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Step::Line(line) => Some((line, Some(reader))),
            Step::Last(line) => line.map(|line| (line, None)),
        }
    })
}

struct Reader {
    splitter: Splitter,
    body: Body,
    app: Shared,
}

enum Step {
    Line(Result<Bytes, Problem>),
    /// Nothing follows.
    Last(Option<Result<Bytes, Problem>>),
}

impl Reader {
    async fn next(&mut self) -> Step {
        loop {
            if let Some(line) = self.splitter.next() {
                let limit = self.app.options.body_limit;
                return Step::Line(line.map_err(|TooLong| too_large("The line", limit)));
            }
            let frame = tokio::time::timeout(self.app.options.body_timeout(), self.body.frame());
            let frame = match self.app.cancel.run_until_cancelled(frame).await {
                None => return Step::Last(Some(Err(stopping()))),
                Some(Err(_)) => return Step::Last(Some(Err(self.timed_out()))),
                Some(Ok(Some(Err(error)))) => return Step::Last(Some(Err(broken(error)))),
                Some(Ok(None)) => {
                    let rest = std::mem::replace(&mut self.splitter, Splitter::new(0)).finish();
                    return Step::Last(rest.map(Ok));
                }
                Some(Ok(Some(Ok(frame)))) => frame,
            };
            if let Some(chunk) = frame.data_ref() {
                self.splitter.push(chunk);
            }
        }
    }

    fn timed_out(&self) -> Problem {
        let limit = self.app.options.body_timeout_ms;
        Kind::RequestTimeout
            .because(format!("The next line did not arrive within {limit} ms; send the rest again."))
    }
}

fn stopping() -> Problem {
    Kind::ShuttingDown.because("The server stops; lines without an answer were not read. Send them again.")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines that come out when the text arrives in these chunks; `None` is a line over the limit.
    fn split(chunks: &[&[u8]], limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut splitter = Splitter::new(limit);
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(line) = splitter.next() {
                lines.push(line.ok().map(|line| line.to_vec()));
            }
            assert!(splitter.buffer.len() <= limit, "no more than one line is held");
        }
        lines.extend(splitter.finish().map(|line| Some(line.to_vec())));
        lines
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_body() {
        let lines = split(&[b"{\"a\":1}\r\n\n  \n{\"b\"", b":2}\n{}"], 20);
        let lines: Vec<_> =
            lines.iter().map(|line| std::str::from_utf8(line.as_ref().unwrap()).unwrap()).collect();
        assert_eq!(lines, ["{\"a\":1}\r", "{\"b\":2}", "{}"]);
    }

    #[test]
    fn a_long_line_is_one_fault_and_the_next_line_is_read() {
        let long = Some(b"12345".to_vec());
        assert_eq!(split(&[b"123456\n12345\n"], 5), [None, long.clone()]);
        assert_eq!(split(&[b"1234", b"56", b"7890", b"\n12345\n"], 5), [None, long.clone()]);
        assert_eq!(split(&[b"1234567"], 5), [None]);
        assert_eq!(split(&[b"12345"], 5), [long]);
    }

    proptest! {
        #[test]
        fn the_chunks_dont_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'x')], 0..200),
            size in 1usize..20,
            limit in 1usize..12,
        ) {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            let whole = split(&chunks, limit);
            let expected: Vec<_> = text
                .split(|byte| *byte == b'\n')
                .filter(|line| line.len() > limit || !is_blank(line))
                .map(|line| (line.len() <= limit).then(|| line.to_vec()))
                .collect();
            prop_assert_eq!(whole, expected);
        }
    }
}
