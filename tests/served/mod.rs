//! The server of `examples/book_my_seat`, started as a process and found by its first line.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// A process that is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    rest: Option<thread::JoinHandle<String>>,
    /// Where its log is, unless it was told. Here, and not over there: a process that is killed cleans nothing up.
    _folder: Option<tempfile::TempDir>,
}

/// The program, which `cargo test` builds beside the tests.
pub(crate) fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here.parent().and_then(Path::parent).unwrap().join("examples/book_my_seat");
    assert!(
        path.is_file(),
        "there is no {}: `cargo test` builds it; where only one test was built, `cargo build --example book_my_seat` \
         (with --release if the tests are) does",
        path.display()
    );
    path
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(words).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts it on a free port, with a log that goes away again.
    pub(crate) fn start(words: &[&str]) -> Self {
        Self::start_at(0, words)
    }

    pub(crate) fn start_at(port: u16, words: &[&str]) -> Self {
        let port = port.to_string();
        let mut command = command(&["--serve", "--port", &port]);
        let folder = (!words.contains(&"--file")).then(|| tempfile::tempdir().unwrap());
        if let Some(folder) = &folder {
            command.arg("--file").arg(folder.path().join("cinema.boxoffice"));
        }
        let mut child = command.args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("http://").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("its first line is no address: \"{first}\""));
        // Read on, so that it is never held up by a pipe that is full.
        let rest = thread::spawn(move || {
            let mut text = String::new();
            let _ = lines.read_to_string(&mut text);
            text
        });
        Self { child, address, rest: Some(rest), _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// SIGKILL: nothing is put in order.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as a service manager does.
    pub(crate) fn terminate(&self) {
        // The `kill` of the shell: the program of this name is not everywhere.
        let (script, pid) = ("kill -TERM \"$1\"", self.child.id().to_string());
        let done = Command::new("sh").args(["-c", script, "sh", &pid]).status().unwrap();
        assert!(done.success());
    }

    /// Waits until it has ended; how, and what it said after its first line.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.rest.take().unwrap().join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
