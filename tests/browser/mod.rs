//! A small W3C WebDriver client: a real Chromium without a screen, driven over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

/// Far longer than anything takes that happens at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How an element is named on this wire.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const REQUIRED: &str = "BOXOFFICE_BROWSER";

/// A chromedriver, which ends its browsers with itself.
pub(crate) struct Driver {
    child: Child,
    agent: Agent,
    url: String,
}

/// One browser with a profile of its own: nothing is shared with another.
pub(crate) struct Browser<'d> {
    driver: &'d Driver,
    url: String,
    _profile: tempfile::TempDir,
}

/// A driver; or none, which is said, where no browser is installed.
pub(crate) fn driver() -> Option<Driver> {
    let started = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(child) => Some(Driver::new(child)),
        Err(why) => {
            let text = format!(
                "the page of book_my_seat was not tested: no chromedriver ({why}). To have it tested: \
                 apt-get install chromium chromium-driver. {REQUIRED}=required makes this a failure."
            );
            assert!(std::env::var_os(REQUIRED).is_none_or(|value| value != "required"), "{text}");
            static ONCE: Once = Once::new();
            // Not with a macro, whose text a test that passes keeps to itself.
            ONCE.call_once(|| drop(writeln!(std::io::stderr(), "\nleft out: {text}")));
            None
        }
    }
}

impl Driver {
    fn new(mut child: Child) -> Self {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver says where it listens");
        thread::spawn(move || lines.for_each(drop));
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Self { child, agent: config.build().into(), url: format!("http://127.0.0.1:{port}") }
    }

    /// A browser with a window of this size; narrow ones are phones.
    pub(crate) fn browser(&self, width: u32, height: u32) -> Browser<'_> {
        let profile = tempfile::tempdir().unwrap();
        let mut options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage",
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ]});
        if width < 500 {
            let metrics = json!({ "width": width, "height": height, "pixelRatio": 2, "touch": true });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let session = self.ask("POST", &format!("{}/session", self.url), Some(&wanted));
        let id = session["sessionId"].as_str().unwrap();
        Browser { driver: self, url: format!("{}/session/{id}", self.url), _profile: profile }
    }

    fn ask(&self, method: &str, url: &str, body: Option<&Value>) -> Value {
        let answer = match (method, body) {
            ("GET", _) => self.agent.get(url).call(),
            ("DELETE", _) => self.agent.delete(url).call(),
            (_, body) => self.agent.post(url).send_json(body.unwrap_or(&json!({}))),
        };
        let mut answer = answer.unwrap_or_else(|why| panic!("{method} {url}: {why}"));
        let mut told: Value = answer.body_mut().read_json().unwrap();
        assert!(answer.status().is_success(), "{method} {url}: {}", told["value"]["message"]);
        told["value"].take()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser<'_> {
    fn post(&self, what: &str, body: &Value) -> Value {
        self.driver.ask("POST", &format!("{}/{what}", self.url), Some(body))
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    pub(crate) fn reload(&self) {
        self.post("refresh", &json!({}));
    }

    /// Runs a script in the page, and gives what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Asks the page again until this is true of it.
    pub(crate) fn until(&self, what: &str, expression: &str) {
        let begun = Instant::now();
        while self.run(&format!("return Boolean({expression})")) != true {
            let page = || self.run("return document.body.innerText");
            assert!(begun.elapsed() < PATIENCE, "this did not happen: {what}. The page says:\n{}", page());
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// Clicks as a person does: where the element is, if nothing lies over it.
    pub(crate) fn click(&self, css: &str) {
        let found = self.post("element", &json!({ "using": "css selector", "value": css }));
        let id = found[ELEMENT].as_str().unwrap();
        self.post(&format!("element/{id}/click"), &json!({}));
    }

    /// Presses and releases one key.
    pub(crate) fn press(&self, key: char) {
        let key = key.to_string();
        let strokes = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.post(
            "actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] }),
        );
    }

    /// What the page complained about in the console since the last time.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().into_iter().flatten();
        let severe = entries.filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Not `ask`, which panics: this may be the end of a test that failed.
        let _ = self.driver.agent.delete(&self.url).call();
    }
}
