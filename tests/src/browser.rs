//! A headless Chromium, driven over WebDriver: plain HTTP and JSON, so that no client library is needed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long the driver may take to answer its first request.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A browser with one page. It ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with a new profile, whose window is so large.
    ///
    /// # Errors
    /// If the browser or its driver is not there or does not start.
    pub fn start(width: u32, height: u32) -> io::Result<Self> {
        let profile = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("chromedriver: {error}; run tests/browser.sh"))
            })?;
        let mut browser = Self { driver, port, session: String::new(), profile };
        let begun = Instant::now();
        while let Err(error) = browser.ask("GET", "/status", &Value::Null) {
            if begun.elapsed() > STARTS_WITHIN {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                format!("--user-data-dir={}", browser.profile.path().display()),
                format!("--window-size={width},{height}"),
            ] },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = browser.ask("POST", "/session", &wanted)?;
        let id = session["sessionId"].as_str().ok_or_else(|| other(format!("no session: {session}")))?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// If the browser does not.
    pub fn open(&self, page: &Path) -> io::Result<()> {
        self.tell("/url", &json!({ "url": format!("file://{}", page.display()) })).map(drop)
    }

    /// Runs a script with `arguments` and gives what it returns.
    ///
    /// # Errors
    /// If the script throws.
    pub fn script(&self, script: &str) -> io::Result<Value> {
        self.tell("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Clicks an element.
    ///
    /// # Errors
    /// If there is none, or it cannot be clicked.
    pub fn click(&self, selector: &str) -> io::Result<()> {
        let element = self.element(selector)?;
        self.tell(&format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Types into an element.
    ///
    /// # Errors
    /// If there is none, or it takes no text.
    pub fn keys(&self, selector: &str, text: &str) -> io::Result<()> {
        let element = self.element(selector)?;
        self.tell(&format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    fn element(&self, selector: &str) -> io::Result<String> {
        let found = self.tell("/element", &json!({ "using": "css selector", "value": selector }))?;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| other(format!("{selector}: {found}")))
    }

    /// Says something in the browser's own protocol.
    ///
    /// # Errors
    /// If the browser refuses.
    pub fn devtools(&self, command: &str, parameters: &Value) -> io::Result<Value> {
        self.tell("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// A real press and release of the mouse at a point of the window.
    ///
    /// # Errors
    /// If the browser refuses.
    pub fn press(&self, x: f64, y: f64) -> io::Result<()> {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.devtools("Input.dispatchMouseEvent", &event)?;
        }
        Ok(())
    }

    /// What was logged, and which addresses the document at `own` asked for, itself included, since this was asked last.
    ///
    /// # Errors
    /// If the browser does not say.
    pub fn traffic(&self, own: &str) -> io::Result<(Vec<String>, Vec<String>)> {
        let entries = |kind: &str| -> io::Result<Vec<Value>> {
            let log = self.tell("/se/log", &json!({ "type": kind }))?;
            Ok(log.as_array().cloned().unwrap_or_default())
        };
        let logged = entries("browser")?.iter().map(ToString::to_string).collect();
        let mut asked = Vec::new();
        for entry in entries("performance")? {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or("null"))?;
            let message = &message["message"];
            // The browser's own first page asks for things, too.
            if message["method"] == "Network.requestWillBeSent" && message["params"]["documentURL"] == own {
                asked.extend(message["params"]["request"]["url"].as_str().map(str::to_owned));
            }
        }
        Ok((logged, asked))
    }

    /// Takes a picture of the page.
    ///
    /// # Errors
    /// If the browser gives none, or the file cannot be written.
    pub fn screenshot(&self, file: &Path) -> io::Result<()> {
        let picture = self.ask("GET", &format!("{}/screenshot", self.session), &Value::Null)?;
        std::fs::write(file, from_base64(picture.as_str().unwrap_or_default()))
    }

    fn tell(&self, path: &str, body: &Value) -> io::Result<Value> {
        self.ask("POST", &format!("{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            let (key, value) = line.split_once(':').unwrap_or_default();
            if key.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| other(line.clone()))?;
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(other(format!("{path}: {error}: {}", value["message"]))),
            None => Ok(value),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // The driver ends the browser with the session; if it cannot, there is nothing else to do here.
            let _ = self.ask("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn other(what: String) -> io::Error {
    io::Error::other(what)
}

/// Bytes from Base64 with the usual alphabet; anything else in it is passed over.
fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length_is_read() {
        for (text, bytes) in
            [("", ""), ("TQ==", "M"), ("TWE=", "Ma"), ("TWFu", "Man"), ("d2F0dGxl", "wattle")]
        {
            assert_eq!(from_base64(text), bytes.as_bytes());
        }
    }
}
