//! Whether the length of a request is ambiguous.
//!
//! A request with both `Content-Length` and `Transfer-Encoding` may end elsewhere for a proxy than for us (request
//! smuggling, RFC 9112 section 6.1). hyper prefers the one, drops the other and closes the connection afterwards; we
//! want such a request refused, so the heads of requests are watched as they are read.

/// Where in the requests on a connection the bytes are.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The line of a head that is being read.
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    /// How much of a body is still to come.
    body: u64,
    /// Whether the rest is not looked at: a body in chunks is the last thing on its connection, which every answer to
    /// one ends (`routes::finish`).
    done: bool,
}

/// Of a longer line, the beginning is enough.
const LINE: usize = 64;

impl Heads {
    /// Takes in what was read, and says whether some head has two lengths, or one that can't be followed.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !self.done && !bytes.is_empty() {
            if self.body > 0 {
                let skipped = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
                self.body -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let (line, rest, ended) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&bytes[..end], &bytes[end + 1..], true),
                None => (bytes, &bytes[bytes.len()..], false),
            };
            bytes = rest;
            let room = LINE.saturating_sub(self.line.len()).min(line.len());
            self.line.extend_from_slice(&line[..room]);
            if ended && self.end_line() {
                return true;
            }
        }
        false
    }

    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let cut = line.len() == LINE;
        let line = line.trim_ascii();
        let value_of = |name: &str| {
            let (found, value) = line.split_at_checked(name.len())?;
            found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        };
        if let Some(value) = value_of("content-length:") {
            // Blanks or zeros can make it so long that it is not seen whole, and what comes after it would be lost.
            if cut {
                return true;
            }
            // hyper refuses a value that is no number, and two that differ.
            self.length = Some(std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0));
        } else if value_of("transfer-encoding:").is_some() {
            self.chunked = true;
        } else if line.is_empty() {
            self.body = self.length.take().unwrap_or(0);
            self.done = self.chunked;
        }
        self.chunked && self.length.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Heads, LINE};

    #[test]
    fn two_lengths_are_seen_in_any_order_however_the_bytes_are_cut() {
        let both =
            ["Content-Length: 5\r\nTransfer-Encoding: chunked", "transfer-encoding: chunked\r\ncontent-length:5"];
        for lengths in both {
            // A request before it, with a body that looks like a head.
            let first = "POST / HTTP/1.1\r\nContent-Length: 42\r\n\r\nTransfer-Encoding: x\r\nContent-Length: 1\r\n\r";
            let text = format!("{first}POST / HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n");
            for size in [1, 2, 7, 1000] {
                let mut heads = Heads::default();
                assert!(text.as_bytes().chunks(size).any(|part| heads.read(part)), "{size} {lengths}");
            }
        }
    }

    #[test]
    fn a_length_too_long_to_be_seen_whole_counts_as_ambiguous() {
        for padding in [" ", "\t", "0"] {
            let mut heads = Heads::default();
            let head = format!("POST / HTTP/1.1\r\nContent-Length:{}5\r\n\r\n", padding.repeat(LINE));
            assert!(heads.read(head.as_bytes()), "{padding:?}");
        }
        // Other headers may be as long as they like.
        let mut heads = Heads::default();
        let head = format!("POST / HTTP/1.1\r\nX: {}\r\nContent-Length: 5\r\n\r\nhello", "x".repeat(LINE));
        assert!(!heads.read(head.as_bytes()));
    }

    #[test]
    fn one_length_is_fine() {
        for lengths in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let mut heads = Heads::default();
            assert!(!heads.read(format!("POST / HTTP/1.1\r\n{lengths}\r\n\r\nhello").as_bytes()));
        }
    }
}
