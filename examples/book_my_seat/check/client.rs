//! A client of the server: asks, and shows what came back; listens to what happens live.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::{Agent, Body};

/// No answer takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Null if the body is no JSON.
    pub(crate) body: Value,
}

/// What one of a window's messages said.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

pub(crate) struct Window(BufReader<ureq::BodyReader<'static>>);

impl Client {
    pub(crate) fn new(base: impl Into<String>) -> Self {
        // The server is here, and not behind any proxy.
        let config = Agent::config_builder().proxy(None).http_status_as_error(false);
        let config = config.timeout_global(Some(PATIENCE));
        // Each thread of a crowd keeps a connection.
        Self { agent: config.max_idle_connections(64).build().into(), base: base.into() }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, String> {
        self.send("GET", path, "", &[])
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.send("POST", path, &body.to_string(), &[("content-type", "application/json")])
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let mut response = self.run(method, path, body, headers)?;
        let text = response.body_mut().read_to_string().map_err(|why| format!("{method} {path}: {why}"))?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: serde_json::from_str(&text).unwrap_or_default(),
        })
    }

    /// Opens a window on a show, which goes on after the event `last`.
    pub(crate) fn window(&self, show: &str, last: Option<&str>) -> Result<Window, String> {
        let headers: Vec<_> = last.map(|id| ("last-event-id", id)).into_iter().collect();
        let response = self.run("GET", &format!("/api/shows/{show}/events"), "", &headers)?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        if kind != Some("text/event-stream") {
            return Err(format!("a window was answered with {} and {kind:?}", response.status()));
        }
        Ok(Window(BufReader::new(response.into_body().into_reader())))
    }

    fn run(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, String> {
        let wrong = |why: String| format!("{method} {path}: {why}");
        let method = Method::from_bytes(method.as_bytes()).map_err(|why| wrong(why.to_string()))?;
        let has_body = method != Method::GET && method != Method::OPTIONS;
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if has_body {
            request.body(body.to_owned()).map(|request| self.agent.run(request))
        } else {
            request.body(()).map(|request| self.agent.run(request))
        };
        sent.map_err(|why| wrong(why.to_string()))?.map_err(|why| wrong(why.to_string()))
    }
}

impl Window {
    /// The next message that is about seats. None if the server has ended the stream.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, String> {
        let (mut kind, mut id, mut data) = (String::new(), String::new(), String::new());
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).map_err(|why| format!("a window: {why}"))? == 0 {
                return Ok(None);
            }
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => text.clone_into(&mut kind),
                Some(("id", text)) => text.clone_into(&mut id),
                Some(("data", text)) => text.clone_into(&mut data),
                _ if kind == "hall" || kind == "seats" => {
                    let data = serde_json::from_str(&data).map_err(|why| format!("a window: {why}"))?;
                    return Ok(Some(Event { kind, id, data }));
                }
                _ => kind.clear(),
            }
        }
    }
}
