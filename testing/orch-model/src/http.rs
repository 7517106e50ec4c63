//! As much of HTTP/1.1 as the agents' clients use.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

/// Longest line of a head, bytes.
const LINE_BYTES: u64 = 64 * 1024;
/// Most lines of a head.
const LINES: usize = 200;
/// Longest body, bytes.
const BODY_BYTES: u64 = 64 << 20;

/// A request, read to its end.
#[derive(Debug, Default)]
pub struct Request {
    /// `GET`, `POST` and the like.
    pub method: String,
    /// What it asks for, without the query.
    pub path: String,
    headers: Vec<(String, String)>,
    /// What it carries.
    pub body: Vec<u8>,
}

impl Request {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A connection that requests come by.
pub struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Connection {
    /// Speaks with whoever is at the other end.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(stream.try_clone()?),
            writer: stream,
        })
    }

    /// The next request; `None` if the other side has none any more.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(first) = self.line()? else {
            return Ok(None);
        };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(invalid("no request line"));
        };
        let path = target.split('?').next().unwrap_or_default();
        let mut request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: self.headers()?,
            body: Vec::new(),
        };
        if request.header("expect").is_some() {
            self.writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let is_chunked = request
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        request.body = match is_chunked {
            true => self.chunks()?,
            false => {
                let length = request.header("content-length").unwrap_or("0").parse();
                self.exactly(length.map_err(|_| invalid("content-length"))?)?
            }
        };
        Ok(Some(request))
    }

    /// One line without its end; `None` at the end of everything.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(LINE_BYTES);
        bounded.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(invalid("a line without end"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let line = String::from_utf8(line).map_err(|_| invalid("a line that is not UTF-8"))?;
        Ok(Some(line))
    }

    fn headers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        while let Some(line) = self.line()?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("no header"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            if headers.len() > LINES {
                return Err(invalid("too many headers"));
            }
        }
        Ok(headers)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?.ok_or_else(|| invalid("no chunk"))?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| invalid("size of a chunk"))?;
            if size == 0 {
                self.headers()?;
                return Ok(body);
            }
            let chunk = self.exactly(size)?;
            body.extend(chunk);
            if body.len() as u64 > BODY_BYTES {
                return Err(invalid("a body that is too large"));
            }
            self.line()?;
        }
    }

    fn exactly(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > BODY_BYTES {
            return Err(invalid("a body that is too large"));
        }
        let mut body = Vec::new();
        (&mut self.reader).take(length).read_to_end(&mut body)?;
        match body.len() as u64 == length {
            true => Ok(body),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Answers with JSON.
    pub fn json(
        &mut self,
        status: u16,
        headers: &[(&str, String)],
        body: &Value,
    ) -> io::Result<()> {
        let body = body.to_string();
        let body = sendable(&body);
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            reason(status),
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.writer.write_all(head.as_bytes())?;
        self.writer.write_all(body.as_bytes())
    }

    /// Answers a `HEAD`.
    pub fn nothing(&mut self) -> io::Result<()> {
        self.writer
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    }

    /// Begins an answer that is a stream of events.
    pub fn begin_events(&mut self) -> io::Result<()> {
        self.writer.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
              transfer-encoding: chunked\r\n\r\n",
        )
    }

    /// One event of the stream.
    pub fn event(&mut self, name: Option<&str>, data: &str) -> io::Result<()> {
        let name = name.map_or(String::new(), |name| format!("event: {name}\n"));
        let text = format!("{name}data: {}\n\n", sendable(data));
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.writer.write_all(chunk.as_bytes())
    }

    /// Ends the stream.
    pub fn end_events(&mut self) -> io::Result<()> {
        self.writer.write_all(b"0\r\n\r\n")
    }

    /// Breaks the connection.
    pub fn cut(&mut self) {
        // It may be broken already, and then there is nothing left to do.
        let _ = self.writer.shutdown(Shutdown::Both);
    }

    /// Waits until the other side leaves.
    pub fn wait_until_left(&mut self) {
        let mut ignored = [0; 512];
        // Any error means as well that nobody is there.
        while self.reader.read(&mut ignored).is_ok_and(|read| read > 0) {}
    }
}

/// JSON as it is sent: with half an emoji where a script wants one.
fn sendable(json: &str) -> std::borrow::Cow<'_, str> {
    let mark = crate::script::LONE_SURROGATE;
    match json.contains(mark) {
        true => json.replace(mark, "\\ud83d").into(),
        false => json.into(),
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        529 => "Overloaded",
        _ => "Other",
    }
}
