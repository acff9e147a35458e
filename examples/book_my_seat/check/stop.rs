//! A stop in the middle of a request: forced, not hoped for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::client::Client;
use super::conformance::{api, ensure};
use super::holds::eventually;
use serde_json::json;

/// Who is served last, and which seat.
pub(crate) const LAST: (&str, &str) = ("last", "M12");

/// Holds the seat; gives the hold's token.
pub(crate) fn hold_one(client: &Client) -> Result<String, String> {
    let (who, seat) = LAST;
    let body = json!({ "clientId": who, "seatIds": [seat], "ttlSeconds": 3600 });
    let answer = client.post(&api("holds"), &body)?;
    let token = answer.body["hold"]["token"].as_str().map(str::to_owned);
    token.ok_or_else(|| format!("{seat} was not held: {answer:?}"))
}

/// Sends a request as far as its headers; stops the server when it has begun to answer; sees that nobody new is let in;
/// sends the rest, and gets the answer.
pub(crate) fn under_way(server: SocketAddr, token: &str, stop: impl FnOnce()) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("the request that is under way: {why}");
    let body = json!({ "clientId": LAST.0 }).to_string();
    let mut stream = TcpStream::connect(server).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(failed)?;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: check\r\nexpect: 100-continue\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        api(&format!("holds/{token}/confirm")),
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(failed)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(failed)?);
    let mut line = String::new();
    answers.read_line(&mut line).map_err(failed)?;
    ensure(line.contains(" 100 "), || format!("\"{}\" is not an invitation to go on", line.trim()))?;

    // The server waits for the body now.
    stop();
    eventually("a server that stops lets nobody in", || Ok(TcpStream::connect(server).is_err()))?;
    stream.write_all(body.as_bytes()).map_err(failed)?;
    let mut rest = String::new();
    answers.read_to_string(&mut rest).map_err(failed)?;
    ensure(rest.contains(" 200 OK") && rest.contains(r#""ok":true"#), || {
        format!("it was answered with {rest}")
    })
}
