//! The fake answers every request of the recorded conversations as Harbor did.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::fake_harbor::{ADMIN_PASSWORD, Harbor, Version};

const ROBOT: &str = "robot$talos-pull";

#[test]
fn every_exchange_of_2_15_2() {
    replay(Version::V2_15_2);
}

#[test]
fn every_exchange_of_2_12_4() {
    replay(Version::V2_12_4);
}

#[test]
fn every_exchange_of_2_9_5() {
    replay(Version::V2_9_5);
}

fn replay(version: Version) {
    let harbor = Harbor::new(version);
    set_up(&harbor, version);
    let mut robot_secret = String::new();
    let mut count = 0;
    for exchange in version.conversation() {
        let (name, request) = (exchange["name"].as_str().unwrap(), &exchange["request"]);
        let wrong = name.contains("wrong");
        let account = match request["auth"].as_str().unwrap() {
            "basic admin" => Some(("admin", ADMIN_PASSWORD.to_owned())),
            "basic other" if wrong && !name.starts_with("token") => {
                Some(("admin", "Wrong1Wrong1".to_owned()))
            }
            "basic other" if wrong => Some((ROBOT, "Wrong1Wrong1".to_owned())),
            "basic other" => Some((ROBOT, robot_secret.clone())),
            _ => None,
        };
        let mut answer = ask(&harbor, request, account);
        if name == "robot secret generated" {
            answer["body"]["secret"].as_str().unwrap().clone_into(&mut robot_secret);
        }
        let want = normalized(&exchange["response"]);
        answer = normalized(&answer);
        assert_eq!(
            answer,
            want,
            "{} {name}: {}\n got {answer:#}\nwant {want:#}",
            version.as_str(),
            request["path"]
        );
        count += 1;
    }
    assert_eq!(count, 95);
}

/// What stood around the Harbor that was listened to: one upstream that answers and one that does not, and two parts that
/// were not where their health was looked for.
fn set_up(harbor: &Harbor, version: Version) {
    let mut state = harbor.state();
    state.dead.insert("http://127.0.0.1:9".to_owned());
    state.health = version.recorded("health");
    let artifact = version.recorded("artifacts")[0].clone();
    let manifest = version.recorded("proxy manifest tag");
    let key = ("http://127.0.0.1:15001".to_owned(), "library/bb:1".to_owned());
    state.upstreams.insert(key, crate::fake_harbor::Upstream { manifest, artifact });
}

fn ask(harbor: &Harbor, request: &Value, account: Option<(&str, String)>) -> Value {
    let mut stream = TcpStream::connect(harbor.address).unwrap();
    let method = request["method"].as_str().unwrap();
    let body = request.get("body").map(Value::to_string).unwrap_or_default();
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\nContent-Length: {}\r\n",
        request["path"].as_str().unwrap(),
        body.len()
    );
    if let Some((user, password)) = account {
        head += &format!("Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{password}")));
    }
    for (name, value) in request.get("headers").and_then(Value::as_object).into_iter().flatten() {
        head += &format!("{name}: {}\r\n", value.as_str().unwrap());
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Map::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), json!(value));
    }
    let length = headers.remove("content-length").unwrap().as_str().unwrap().parse().unwrap();
    let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
    reader.read_exact(&mut body).unwrap();
    let text = String::from_utf8(body).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    json!({"status": status, "headers": headers, "body": body})
}

/// Replaces what is another one in every run: times, secrets, tokens, addresses.
fn normalized(response: &Value) -> Value {
    let mut response = response.clone();
    for (name, value) in response["headers"].as_object_mut().unwrap() {
        if matches!(name.as_str(), "set-cookie" | "x-harbor-csrf-token" | "docker-content-digest") {
            *value = json!("<random>");
        }
    }
    // What Harbor's own log has an error under was not written down.
    response["headers"].as_object_mut().unwrap().remove("x-request-id");
    let text = response.to_string();
    let text =
        Regex::new(r"(?:20\d\d|1970)-\d\d-\d\dT[0-9:.]+Z").unwrap().replace_all(&text, "<time>").into_owned();
    let text = Regex::new(r"127\.0\.0\.1:\d+").unwrap().replace_all(&text, "<address>").into_owned();
    let text = Regex::new(r#""expires_at":\d+"#)
        .unwrap()
        .replace_all(&text, r#""expires_at":"<time>""#)
        .into_owned();
    let text = Regex::new(r#""(secret|token)":"[^"]+""#)
        .unwrap()
        .replace_all(&text, r#""$1":"<random>""#)
        .into_owned();
    serde_json::from_str(&text).unwrap()
}
