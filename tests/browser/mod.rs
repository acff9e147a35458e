//! A small W3C WebDriver client: a real Chromium without a screen, driven over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Once, OnceLock};
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
    _home: tempfile::TempDir,
}

/// One browser with a profile of its own: nothing is shared with another.
pub(crate) struct Browser<'d> {
    driver: &'d Driver,
    url: String,
    _profile: Option<tempfile::TempDir>,
}

/// A driver; or none, which is said, where no browser is installed.
pub(crate) fn driver() -> Option<Driver> {
    // A browser writes into its home, and not everybody has one.
    let home = tempfile::tempdir().unwrap();
    let folder = |name: &str| home.path().join(name);
    let started = Command::new("chromedriver")
        .arg("--port=0")
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", folder("config"))
        .env("XDG_CACHE_HOME", folder("cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let missing = match started.map(|child| Driver::new(child, home)) {
        Err(why) => format!("no chromedriver: {why}"),
        Ok(driver) => match driver.has_browser() {
            Ok(()) => return Some(driver),
            Err(why) => format!("no Chromium: {why}"),
        },
    };
    let text = format!(
        "the page of book_my_seat was not tested: {missing}. To have it tested: apt-get install chromium \
         chromium-driver. {REQUIRED}=required makes this a failure."
    );
    assert!(std::env::var_os(REQUIRED).is_none_or(|value| value != "required"), "{text}");
    static ONCE: Once = Once::new();
    // Not with a macro, whose text a test that passes keeps to itself.
    ONCE.call_once(|| drop(writeln!(std::io::stderr(), "\nleft out: {text}")));
    None
}

impl Driver {
    fn new(mut child: Child, home: tempfile::TempDir) -> Self {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver says where it listens");
        thread::spawn(move || lines.for_each(drop));
        // Here is not behind any proxy.
        let config = Agent::config_builder().proxy(None).http_status_as_error(false);
        let agent = config.timeout_global(Some(PATIENCE)).build().into();
        Self { child, agent, url: format!("http://127.0.0.1:{port}"), _home: home }
    }

    /// Whether a browser can be started at all; what chromedriver says if not. Asked once.
    fn has_browser(&self) -> Result<(), String> {
        static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
        let look = || match self.start(&wanted(800, 600, Path::new(""))) {
            Ok(session) => {
                drop(Browser { url: self.session(&session), driver: self, _profile: None });
                Ok(())
            }
            // Anything else is a failure of the test, and not a reason to leave it out.
            Err(why) if why.contains("cannot find Chrome binary") => Err(why),
            Err(why) => panic!("{why}"),
        };
        FOUND.get_or_init(look).clone()
    }

    fn session(&self, session: &Value) -> String {
        format!("{}/session/{}", self.url, session["sessionId"].as_str().unwrap())
    }

    /// A browser with a window of this size; narrow ones are phones.
    pub(crate) fn browser(&self, width: u32, height: u32) -> Browser<'_> {
        let profile = tempfile::tempdir().unwrap();
        let session = self.start(&wanted(width, height, profile.path())).unwrap();
        Browser { driver: self, url: self.session(&session), _profile: Some(profile) }
    }

    fn start(&self, wanted: &Value) -> Result<Value, String> {
        self.try_ask("POST", &format!("{}/session", self.url), Some(wanted))
    }

    fn ask(&self, method: &str, url: &str, body: Option<&Value>) -> Value {
        self.try_ask(method, url, body).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_ask(&self, method: &str, url: &str, body: Option<&Value>) -> Result<Value, String> {
        let answer = match method {
            "DELETE" => self.agent.delete(url).call(),
            _ => self.agent.post(url).send_json(body.unwrap_or(&json!({}))),
        };
        let mut answer = answer.map_err(|why| format!("{method} {url}: {why}"))?;
        let mut told: Value =
            answer.body_mut().read_json().map_err(|why| format!("{method} {url}: {why}"))?;
        if !answer.status().is_success() {
            return Err(format!("{method} {url}: {}", told["value"]["message"].as_str().unwrap_or_default()));
        }
        Ok(told["value"].take())
    }
}

/// What a browser is asked to be.
fn wanted(width: u32, height: u32, profile: &Path) -> Value {
    let mut args = vec![
        "--headless=new".to_owned(),
        "--no-sandbox".into(),
        "--disable-gpu".into(),
        "--disable-quic".into(),
        "--no-first-run".into(),
        "--disable-background-networking".into(),
        "--disable-component-update".into(),
        "--disable-sync".into(),
        "--disable-dev-shm-usage".into(),
        format!("--window-size={width},{height}"),
    ];
    if profile.is_dir() {
        args.push(format!("--user-data-dir={}", profile.display()));
    }
    let mut options = json!({ "args": args });
    if width < 500 {
        let metrics = json!({ "width": width, "height": height, "pixelRatio": 2, "touch": true });
        options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
    }
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": { "browser": "ALL" },
    }}})
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
