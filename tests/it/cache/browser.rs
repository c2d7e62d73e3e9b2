//! The status page in a real browser, over `WebDriver`: `tests/interop/run page`, or `cargo test -- --ignored browser`.
//!
//! What the browser needs is Debian's `chromium` and `chromium-driver`. `UPDATE_GOLDEN=1` takes the pictures in `docs/`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::status_page::Busy;
use crate::cache_process::{Cache, PATIENCE, eventually};
use crate::run::repository;

/// A browser that is driven; it ends with the value.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; [`None`] where it is not installed.
    fn start() -> Option<Self> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else {
            let required = std::env::var("TALMIRROR_INTEROP").is_ok_and(|value| value == "required");
            assert!(!required, "chromedriver is not installed");
            eprintln!("skipped: chromedriver is not installed (Debian: chromium, chromium-driver)");
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut this = Self { driver, port: port.expect("a port"), session: String::new(), profile };
        let folder = format!("--user-data-dir={}", this.profile.path().display());
        let session = this.call(
            "POST",
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": {"args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                    "--disable-background-networking", "--disable-component-update", "--no-first-run", folder,
                ]},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        session["sessionId"].as_str().unwrap().clone_into(&mut this.session);
        Some(this)
    }

    /// Calls the driver and returns the answer's value.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).unwrap();
        let mut answer: Value = serde_json::from_slice(&bytes).unwrap();
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{method} {path}: {value}");
        value
    }

    fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", &format!("/session/{}{path}", self.session), &body)
    }

    fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url }));
    }

    fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        self.post("/actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    fn size(&self, width: u32, height: u32) {
        let command = json!({
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false},
        });
        self.post("/goog/cdp/execute", command);
    }

    fn theme(&self, theme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": theme}]);
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        self.post("/goog/cdp/execute", command);
    }

    fn picture(&self) -> Vec<u8> {
        let url = format!("/session/{}/screenshot", self.session);
        STANDARD.decode(self.call("GET", &url, &Value::Null).as_str().unwrap()).unwrap()
    }

    /// Returns what the accessibility tree says of everything that can be operated or is a landmark: role and name.
    fn accessible(&self) -> Vec<(String, String)> {
        let command = json!({"cmd": "Accessibility.getFullAXTree", "params": {}});
        let tree = self.post("/goog/cdp/execute", command);
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let shown = nodes.filter(|node| node["ignored"] == false);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        shown.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }

    /// Fails if the console has an error, or anything but `origin` was asked.
    fn is_clean(&self, origin: &str) {
        let log = self.post("/se/log", json!({"type": "browser"}));
        assert_eq!(log, json!([]), "the console");
        let asked = self.run(
            "return performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).map(e => e.name)",
        );
        let asked = asked.as_array().unwrap();
        assert!(!asked.is_empty());
        for url in asked {
            let url = url.as_str().unwrap();
            assert!(url.starts_with(origin) || url.starts_with("data:"), "{url} was asked");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
#[ignore = "needs a browser; tests/interop/run page"]
fn browser_shows_the_status_page() {
    let Some(browser) = Browser::start() else { return };
    let busy = Busy::start();
    let origin = format!("http://{}", busy.address);
    for (theme, dark) in [("light", false), ("dark", true)] {
        browser.theme(theme);
        for width in [320, 1600] {
            browser.size(width, 1000);
            for page in ["/", "/images"] {
                browser.open(&format!("{origin}{page}"));
                let over =
                    browser.run("const e = document.documentElement; return e.scrollWidth - e.clientWidth");
                assert_eq!(over, json!(0), "{page} at {width} px");
                let color = browser.run("return getComputedStyle(document.body).backgroundColor");
                assert_eq!(color == "rgb(255, 255, 255)", !dark, "{color}");
                browser.is_clean(&origin);
            }
        }
        // By the formula of WCAG 2: text has a contrast of 4.5 at least.
        browser.open(&format!("{origin}/"));
        let poor = browser.run(CONTRAST);
        assert_eq!(poor, json!([]), "{theme}");
    }
    shows_what_there_is(&browser, &busy.cache, &origin);
    works_by_keyboard(&browser, &origin);
    has_names(&browser, &origin);
    works_without_a_script(&browser, &origin);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        take_pictures(&browser, &origin);
    }
    for name in ["status-light.png", "status-dark.png"] {
        let path = repository("docs").join(name);
        assert!(path.exists(), "UPDATE_GOLDEN=1 takes {}", path.display());
    }
}

/// Returns the elements whose text is too like what is behind it.
const CONTRAST: &str = r"
const parse = (text) => text.match(/[\d.]+/g).map(Number);
const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
return [...document.querySelectorAll('body *')].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.checkVisibility() && !e.closest('meter, script')).map((e) => {
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  return [(a + .05) / (b + .05), e.tagName + ' ' + e.textContent.trim().slice(0, 40)];
}).filter(([ratio]) => ratio < 4.5);
";

fn shows_what_there_is(browser: &Browser, cache: &Cache, origin: &str) {
    browser.open(&format!("{origin}/"));
    let text = browser.run("return document.body.innerText").as_str().unwrap().to_owned();
    for part in ["All is well", "ghcr.io/some/thing", "of 8 MiB", "private.example", "not asked", "503"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    // It is kept up to date without being loaded again.
    browser.run("window.same = true");
    assert_eq!(cache.get("/v2/ghcr.io/broken/later/manifests/1").status, 503);
    eventually("the page shows what came later", || {
        browser.run("return window.same && document.body.innerText.includes('broken/later')") == json!(true)
    });
    let paused = browser.run("const b = document.getElementById('pause'); b.click(); return b.textContent");
    assert_eq!(paused, "Go on refreshing");
}

fn works_by_keyboard(browser: &Browser, origin: &str) {
    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    browser.open(&format!("{origin}/"));
    browser.keys(TAB);
    let focused = || browser.run("return document.activeElement.innerText || document.activeElement.id");
    assert_eq!(focused(), "Skip to the content");
    let ring = browser.run("return getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(ring, "solid");
    browser.keys(ENTER);
    assert_eq!(browser.run("return document.activeElement.id"), "main");
    // After the page was refreshed, and with a list of figures in hand, which keeps nothing from being refreshed.
    let refreshed = || {
        browser.run("document.getElementById('live').dataset.old = 'yes'");
        eventually("the page is refreshed", || {
            browser.run("return document.getElementById('live').dataset.old ?? null") == json!(null)
        });
    };
    browser.run(
        "const d = document.querySelector('details'); d.open = true; d.querySelector('summary').focus()",
    );
    refreshed();
    assert_eq!(browser.run("return document.activeElement.tagName"), "SUMMARY");
    assert_eq!(browser.run("return document.querySelector('details').open"), json!(true));
    let notice = || browser.run("return document.querySelector('.notice[role=status]').textContent");
    browser.run("window.real = window.fetch; window.fetch = () => Promise.reject(new TypeError('down'))");
    eventually("the page says that it is old", || {
        notice().as_str().unwrap().starts_with("Not refreshed since 2")
    });
    browser.run("window.fetch = window.real");
    eventually("the page says no more that it is", || notice() == "");
    browser.keys("/");
    assert_eq!(focused(), "q");
    browser.keys("other/web");
    browser.keys(ENTER);
    eventually("the search is shown", || {
        browser.run("return location.pathname + location.search") == json!("/images?q=other%2Fweb")
    });
    assert_eq!(browser.run("return document.querySelectorAll('tbody tr').length"), json!(1));
    // Searched as it is typed.
    browser.run("document.getElementById('q').value = ''");
    browser.keys("/");
    browser.keys("1.2.3");
    eventually("the list follows", || {
        let first = browser.run("return document.querySelector('tbody th')?.innerText");
        first == json!("ghcr.io/some/thing:1.2.3")
    });
    browser.is_clean(origin);
}

fn has_names(browser: &Browser, origin: &str) {
    for page in ["/", "/images"] {
        browser.open(&format!("{origin}{page}"));
        let tree = browser.accessible();
        let named =
            ["link", "button", "searchbox", "table", "region", "navigation", "meter", "progressbar", "image"];
        let mut seen = 0;
        for (role, name) in &tree {
            if named.contains(&role.as_str()) {
                assert!(!name.trim().is_empty(), "a {role} of {page} has no name: {tree:?}");
                seen += 1;
            }
        }
        assert!(seen > 5, "{tree:?}");
        let has = |role: &str, name: &str| tree.iter().any(|(a, b)| a == role && b == name);
        assert!(has("searchbox", "Search what is cached"), "{tree:?}");
        assert!(has("main", "") || tree.iter().any(|(role, _)| role == "main"), "{tree:?}");
        if page == "/" {
            for (role, name) in
                [("heading", "Upstream registries"), ("table", "Endpoints"), ("progressbar", "Downloaded")]
            {
                assert!(has(role, name), "no {role} {name} in {tree:?}");
            }
        }
    }
}

fn works_without_a_script(browser: &Browser, origin: &str) {
    let switch = |off: bool| {
        let command = json!({"cmd": "Emulation.setScriptExecutionDisabled", "params": {"value": off}});
        browser.post("/goog/cdp/execute", command);
    };
    switch(true);
    browser.open(&format!("{origin}/images?q=web"));
    let found = browser.post("/elements", json!({"using": "css selector", "value": "tbody tr"}));
    assert_eq!(found.as_array().unwrap().len(), 1);
    browser.open(&format!("{origin}/"));
    let pause = browser.post("/elements", json!({"using": "css selector", "value": "#pause"}));
    assert_eq!(pause, json!([]), "what needs a script is not there without one");
    switch(false);
}

fn take_pictures(browser: &Browser, origin: &str) {
    browser.size(1000, 1500);
    for theme in ["light", "dark"] {
        browser.theme(theme);
        browser.open(&format!("{origin}/"));
        std::fs::write(repository("docs").join(format!("status-{theme}.png")), browser.picture()).unwrap();
    }
}
