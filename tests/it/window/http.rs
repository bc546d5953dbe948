//! HTTP by hand: nothing is added and nothing put right on the way, so that requests can be as hostile as they like.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::world::DEADLINE;

/// An answer, as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns a header's value; none where it is missing.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Sends a request of this line, these headers and this body to a port of this machine, and returns the answer.
pub fn send(port: u16, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
    request += "\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    // The answer may come before all of it is read.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let mut part = [0; 1 << 16];
    loop {
        // Some servers leave the connection open whatever they are asked.
        let length = stream.read(&mut part).unwrap();
        bytes.extend(&part[..length]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            assert!(length > 0, "the connection ended within the head: {}", String::from_utf8_lossy(&bytes));
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: bytes[end + 4..].to_vec() };
        let expected = answer.header("content-length").and_then(|bytes| bytes.parse().ok());
        if length == 0 || expected == Some(answer.body.len()) {
            if answer.header("transfer-encoding") == Some("chunked") {
                answer.body = joined(&answer.body);
            }
            return answer;
        }
    }
}

/// Returns what the chunks of a body hold.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|window| window == b"\r\n").expect("the body was cut");
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 4 + size..];
    }
}
