//! The head of an answer, with one reading (RFC 9112). Servers write heads that are not as they
//! should be and that every client takes alike: these are written anew and read then. All others
//! are refused at once, by the name of the field and never with its value.

use std::fmt;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use httparse::{Header, ParserConfig, Status};

use super::head::{self, Framing, connection_names};
use super::spelling::Spelling;

/// The head of an answer, in bytes.
const MAX_ANSWER_HEAD: usize = 128 * 1024;
/// The most fields of an answer; more make it invalid.
const MAX_ANSWER_FIELDS: usize = 256;

/// What every answer begins with.
const START: &[u8] = b"HTTP/1.";

/// The head of an answer that has one reading.
#[derive(Debug)]
pub struct AnswerHead {
    /// The status, of three digits.
    pub status: StatusCode,
    /// The fields, whose values are parts of the head's bytes.
    pub headers: HeaderMap,
    /// Not looked at where the status or the request's method say that there is no body.
    pub framing: Framing,
    /// The upstream closes the connection after it.
    pub close: bool,
    /// How its fields were spelt, and its reason phrase.
    pub spelling: Spelling,
}

/// Why the head of an answer is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerHeadError {
    /// It does not speak HTTP/1.
    #[error("it does not begin with `HTTP/1.`")]
    NotHttp,
    /// The first line is not one.
    #[error("its status line is not valid")]
    StatusLine,
    /// This line has no reading.
    #[error("{0} is not a valid field")]
    Line(HeadPlace),
    /// This line ends otherwise than the first one, or with a bare CR.
    #[error("{0} ends otherwise than by CRLF")]
    LineEnd(HeadPlace),
    /// It frames the body, and readers take it differently.
    #[error("the field `{0}` frames the body, and has no one reading")]
    Framing(HeaderName),
    /// It has too many bytes or fields.
    #[error("it has more than {MAX_ANSWER_HEAD} bytes or {MAX_ANSWER_FIELDS} fields")]
    TooLarge,
}

/// Which line of a head: by its own name, or by that of the last one with a valid name.
#[derive(Debug, PartialEq, Eq)]
pub enum HeadPlace {
    /// The field of this name.
    Field(HeaderName),
    /// The line behind the field of this name.
    After(HeaderName),
    /// The line behind the status line.
    First,
}

/// Whether a name may stand in a log: a line that is a token by mistake is longer, and has digits.
fn is_shown(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.len() <= 20 || name.len() <= 40 && !name.bytes().any(|byte| byte.is_ascii_digit())
}

impl fmt::Display for HeadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) if !is_shown(name) => f.write_str("a field with a long name"),
            Self::After(name) if !is_shown(name) => {
                f.write_str("the line behind a field with a long name")
            }
            Self::Field(name) => write!(f, "the field `{name}`"),
            Self::After(name) => write!(f, "the line behind the field `{name}`"),
            Self::First => f.write_str("the first line behind the status line"),
        }
    }
}

/// Takes a whole head off the input, once it is there. `seen`: how much of it was looked at before.
pub fn take(input: &mut BytesMut, seen: &mut usize) -> Result<Option<AnswerHead>, AnswerHeadError> {
    if input.is_empty() {
        return Ok(None);
    }
    let Some(end) = head::end(input, *seen) else { return unfinished(input, seen) };
    *seen = 0;
    let head = input.split_to(end).freeze();
    match read(&head) {
        Ok(head) => Ok(Some(head)),
        Err(error) => mended(&head, error, input).map(Some),
    }
}

/// A head whose end has not come, as CRLF ends it: one that cannot become valid is refused now,
/// because its end may never come.
#[cold]
fn unfinished(
    input: &mut BytesMut,
    seen: &mut usize,
) -> Result<Option<AnswerHead>, AnswerHeadError> {
    let begun = input.len().min(START.len());
    if input[..begun] != START[..begun] {
        return Err(AnswerHeadError::NotHttp);
    }
    if input.len() > MAX_ANSWER_HEAD {
        return Err(AnswerHeadError::TooLarge);
    }
    // What came since, and the byte before: it may be half a line end.
    let from = seen.saturating_sub(1);
    let new = &input[from..];
    let doubtful = if ends_in_line_feed_alone(input) {
        if let Some(at) = memchr::memmem::find(new, b"\n\n") {
            *seen = 0;
            let head = input.split_to(from + at + 2).freeze();
            return mend(&head).and_then(|head| read(&head)).map(Some);
        }
        memchr::memchr(b'\r', new).is_some()
    } else {
        let whole = new.len() - usize::from(new.ends_with(b"\r"));
        !head::lines_end_in_crlf(&new[usize::from(from > 0 && new.starts_with(b"\n"))..whole])
    };
    if doubtful {
        check_line_ends(input)?;
    }
    *seen = input.len();
    Ok(None)
}

/// Whether the first line ends in LF alone: then all do, and two of them end the head.
fn ends_in_line_feed_alone(head: &[u8]) -> bool {
    memchr::memchr(b'\n', head).is_some_and(|at| !head[..at].ends_with(b"\r"))
}

/// A head that could not be read as it is, read as every client takes it; what was behind its end
/// goes back to the input.
#[cold]
fn mended(
    head: &[u8],
    error: AnswerHeadError,
    input: &mut BytesMut,
) -> Result<AnswerHead, AnswerHeadError> {
    if !matches!(error, AnswerHeadError::LineEnd(_) | AnswerHeadError::StatusLine) {
        return Err(error);
    }
    let mut head = head;
    if ends_in_line_feed_alone(head)
        && let Some(end) = memchr::memmem::find(head, b"\n\n").map(|at| at + 2)
    {
        let mut rest = BytesMut::from(&head[end..]);
        rest.unsplit(std::mem::take(input));
        *input = rest;
        head = &head[..end];
    }
    read(&mend(head)?)
}

/// Reads a whole head as the standard has it.
fn read(head: &Bytes) -> Result<AnswerHead, AnswerHeadError> {
    // The library forgives an empty line before it.
    if !head.starts_with(START) {
        return Err(AnswerHeadError::NotHttp);
    }
    if !head::lines_end_in_crlf(head) {
        return Err(AnswerHeadError::LineEnd(HeadPlace::First));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_ANSWER_FIELDS];
    let mut lines = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut lines, head, &mut fields);
    match parsed {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(AnswerHeadError::TooLarge),
        Ok(Status::Partial) | Err(_) => return Err(AnswerHeadError::StatusLine),
    }
    let http11 = lines.version == Some(1);
    let status = lines.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(AnswerHeadError::StatusLine)?;
    let framing = framing(lines.headers, http11).map_err(AnswerHeadError::Framing)?;
    let headers = head::header_map(head, lines.headers);
    let mut headers = headers.ok_or(AnswerHeadError::Line(HeadPlace::First))?;
    if framing.respelt
        && let Framing::Length(length) = framing.framing
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let close = !http11 || connection_names(&headers, "close");
    let spelling = Spelling::of_answer(head, status);
    Ok(AnswerHead { status, headers, framing: framing.framing, close, spelling })
}

struct AnswerFraming {
    framing: Framing,
    /// The length was said more than once, or in another way than its digits.
    respelt: bool,
}

/// What the fields say of the body. An error names the field that has no one reading: the codings
/// of RFC 9112 section 7 but chunked, two different lengths, a length beside a coding.
fn framing(fields: &[Header<'_>], http11: bool) -> Result<AnswerFraming, HeaderName> {
    let mut found: Option<Framing> = None;
    let mut respelt = false;
    for field in fields {
        let (name, framing) = if head::is(field.name, &CONTENT_LENGTH) {
            let length = agreed_length(field.value).ok_or(CONTENT_LENGTH)?;
            respelt |= found.is_some()
                || field.value.first() == Some(&b'0')
                || field.value.contains(&b',');
            (CONTENT_LENGTH, Framing::Length(length))
        } else if head::is(field.name, &TRANSFER_ENCODING) {
            // RFC 2616 section 3.6 had it: no coding at all.
            if field.value.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let plain = http11 && field.value.eq_ignore_ascii_case(b"chunked");
            (TRANSFER_ENCODING, plain.then_some(Framing::Chunked).ok_or(TRANSFER_ENCODING)?)
        } else {
            continue;
        };
        let again = found.is_some_and(|found| found != framing || framing == Framing::Chunked);
        if again {
            return Err(name);
        }
        found = Some(framing);
    }
    Ok(AnswerFraming { framing: found.unwrap_or(Framing::Close), respelt })
}

/// One length, also said several times (RFC 9110 section 8.6): of digits alone.
fn agreed_length(value: &[u8]) -> Option<u64> {
    let mut agreed = None;
    for part in value.split(|byte| *byte == b',') {
        let part = part.trim_ascii();
        if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length: u64 = std::str::from_utf8(part).ok()?.parse().ok()?;
        if agreed.replace(length).is_some_and(|before| before != length) {
            return None;
        }
    }
    agreed
}

/// All whole lines of a head that is not whole: they end alike, by CRLF or by LF.
fn check_line_ends(head: &[u8]) -> Result<(), AnswerHeadError> {
    let whole = memchr::memrchr(b'\n', head).map_or(0, |at| at + 1);
    let mut lines = Lines::new(&head[..whole]);
    while lines.next()?.is_some() {}
    // A CR in the line that is not whole is the last thing that came, or stands alone.
    match memchr::memchr(b'\r', &head[whole..]) {
        Some(at) if whole + at + 1 < head.len() => Err(AnswerHeadError::LineEnd(lines.place())),
        _ => Ok(()),
    }
}

/// Writes a head anew as every client reads it: lines that all end in LF, values that go on in the
/// next line (RFC 9112 section 5.2), white space before a colon (section 5.1).
fn mend(head: &[u8]) -> Result<Bytes, AnswerHeadError> {
    let mut lines = Lines::new(head);
    let mut out = BytesMut::with_capacity(head.len() + 64);
    out.extend_from_slice(lines.next()?.ok_or(AnswerHeadError::StatusLine)?);
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            break;
        }
        let invalid = || AnswerHeadError::Line(HeadPlace::First);
        if let [b' ' | b'\t', rest @ ..] = line {
            match &lines.last {
                Some(name) if frames(name) => return Err(AnswerHeadError::Framing(name.clone())),
                Some(_) => out.extend_from_slice(b" "),
                None => return Err(invalid()),
            }
            out.extend_from_slice(rest.trim_ascii());
            continue;
        }
        let colon = memchr::memchr(b':', line);
        let colon = colon.ok_or_else(|| AnswerHeadError::Line(lines.place()))?;
        let (spelt, value) = (line[..colon].trim_ascii_end(), &line[colon..]);
        let name = HeaderName::from_bytes(spelt);
        let name = name.map_err(|_| AnswerHeadError::Line(lines.place()))?;
        if frames(&name) && spelt.len() < colon {
            return Err(AnswerHeadError::Framing(name));
        }
        if HeaderValue::from_bytes(value[1..].trim_ascii()).is_err() {
            return Err(AnswerHeadError::Line(HeadPlace::Field(name)));
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(spelt);
        out.extend_from_slice(value);
        lines.last = Some(name);
    }
    out.extend_from_slice(b"\r\n\r\n");
    Ok(out.freeze())
}

fn frames(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING
}

/// The lines of a head, without their ends, which are all the same.
struct Lines<'a> {
    left: &'a [u8],
    /// Whether the first line ended in CRLF.
    crlf: Option<bool>,
    /// The last field with a valid name.
    last: Option<HeaderName>,
}

impl<'a> Lines<'a> {
    fn new(head: &'a [u8]) -> Self {
        Self { left: head, crlf: None, last: None }
    }

    fn place(&self) -> HeadPlace {
        self.last.clone().map_or(HeadPlace::First, HeadPlace::After)
    }

    fn next(&mut self) -> Result<Option<&'a [u8]>, AnswerHeadError> {
        let Some(at) = memchr::memchr(b'\n', self.left) else { return Ok(None) };
        let (line, left) = (&self.left[..at], &self.left[at + 1..]);
        self.left = left;
        let stripped = line.strip_suffix(b"\r");
        let crlf = *self.crlf.get_or_insert(stripped.is_some());
        let line = stripped.unwrap_or(line);
        if crlf != stripped.is_some() || line.contains(&b'\r') {
            let name = memchr::memchr(b':', line).map(|colon| &line[..colon]);
            let name = name.and_then(|name| HeaderName::from_bytes(name).ok());
            let name = name.map(HeadPlace::Field);
            return Err(AnswerHeadError::LineEnd(name.unwrap_or_else(|| self.place())));
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests;
