//! What bytes mean that are requests beyond doubt: HTTP/1.1 as RFC 9112 writes it, no liberties taken, and few headers.

use ringfence_core::admission::review::Request;

/// What the next request on a connection must be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// This.
    Answer(Status),
    /// This, or the connection ends: where the server ends it while there is more to read, that resets the connection, by
    /// which answers can be lost on their way.
    AnswerOrEnd(Status),
    /// What comes is no request beyond doubt, or not all of one, or may not be read any more.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// This one.
    Exactly(u16),
    /// A review: decided, or 400 where an object is not what it must be.
    Review,
}

impl Status {
    pub(super) fn is(self, status: u16) -> bool {
        match self {
            Self::Exactly(expected) => expected == status,
            Self::Review => matches!(status, 200 | 400),
        }
    }
}

/// What each request must be answered with, as long as the answers do not end the connection.
pub(super) fn expected(mut bytes: &[u8]) -> Vec<Expected> {
    let (mut all, mut certain) = (Vec::new(), true);
    while !bytes.is_empty() {
        let Some((head, body)) = Head::read(bytes) else {
            all.push(Expected::Unclear);
            break;
        };
        if head.length.is_some() && head.chunked {
            // Which of two lengths counts is a question that is refused, and nothing after it is read.
            all.push(Expected::Answer(Status::Exactly(head.misplaced().unwrap_or(400))));
            certain = false;
            break;
        }
        let Some((body, rest)) = head.body(body) else {
            all.push(Expected::Unclear);
            break;
        };
        bytes = rest;
        let status = head.status(&body);
        all.push(Expected::Answer(status));
        // Where a request is refused by its head, its body is not waited for.
        let unread = !body.is_empty() && matches!(status, Status::Exactly(404 | 405 | 415));
        certain &= !unread && (!head.chunked || bytes.is_empty());
        if unread && !bytes.is_empty() {
            all.push(Expected::Unclear);
            break;
        }
    }
    if !certain || all.last() == Some(&Expected::Unclear) {
        for expected in &mut all {
            if let Expected::Answer(status) = *expected {
                *expected = Expected::AnswerOrEnd(status);
            }
        }
    }
    all
}

struct Head<'a> {
    method: &'a str,
    path: &'a str,
    content_type: Option<&'a str>,
    content_encoding: Option<&'a str>,
    length: Option<usize>,
    chunked: bool,
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()).then_some((line, &bytes[end + 2..]))
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (first, mut rest) = line(bytes)?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.?&=".contains(&byte);
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method);
        if words.next() != Some("HTTP/1.1") || words.next().is_some() || !known || first.len() > 200 {
            return None;
        }
        if !target.starts_with('/') || !target.bytes().all(plain) {
            return None;
        }
        let path = target.split('?').next()?;
        let mut head = Self { method, path, content_type: None, content_encoding: None, length: None, chunked: false };
        let mut seen = Vec::new();
        loop {
            let (header, after) = line(rest)?;
            rest = after;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':')?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim_matches(' '));
            if seen.contains(&name) || seen.len() > 20 {
                return None;
            }
            match name.as_str() {
                "content-type" => head.content_type = Some(value),
                "content-encoding" => head.content_encoding = Some(value),
                "content-length" if value.len() < 9 && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                    head.length = Some(value.parse().ok()?);
                }
                "transfer-encoding" if value == "chunked" => head.chunked = true,
                "host" | "accept" | "user-agent" => {}
                _ => return None,
            }
            // Blanks or zeros can make it so long that it counts as ambiguous.
            if name == "content-length" && header.len() > 40 {
                return None;
            }
            seen.push(name);
        }
        Some((head, rest))
    }

    fn body(&self, bytes: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
        if !self.chunked {
            return bytes.split_at_checked(self.length.unwrap_or(0)).map(|(body, rest)| (body.to_vec(), rest));
        }
        let (mut body, mut rest) = (Vec::new(), bytes);
        loop {
            let (size, after) = line(rest)?;
            if size.is_empty() || size.len() > 6 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            let (chunk, after) = after.split_at_checked(usize::from_str_radix(size, 16).ok()?)?;
            body.extend_from_slice(chunk);
            rest = after.strip_prefix(b"\r\n")?;
            if chunk.is_empty() {
                return Some((body, rest));
            }
        }
    }

    /// What is sent to a path that is not there, or not posted.
    fn misplaced(&self) -> Option<u16> {
        let known = ["/mutate", "/validate"].contains(&self.path);
        if known { (self.method != "POST").then_some(405) } else { Some(404) }
    }

    fn status(&self, body: &[u8]) -> Status {
        let is_json = |value: &str| {
            value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        };
        let is_plain = |encoding: &str| encoding.eq_ignore_ascii_case("identity");
        if let Some(status) = self.misplaced() {
            Status::Exactly(status)
        } else if !self.content_type.is_some_and(is_json) || !self.content_encoding.is_none_or(is_plain) {
            Status::Exactly(415)
        } else if Request::parse(body).is_err() {
            Status::Exactly(400)
        } else {
            Status::Review
        }
    }
}
