//! Robot accounts.

use serde_json::{Value, json};

use super::api::{Caller, Version, is_name};
use super::objects::{NOW, State};
use super::wire::{Request, Response};

#[derive(Clone, Debug, PartialEq)]
pub struct Robot {
    /// Without the prefix, which is put before it when it is read.
    pub name: String,
    pub description: String,
    pub secret: String,
    pub duration: i64,
    pub disable: bool,
    pub expires_at: i64,
    pub permissions: Value,
}

impl Robot {
    pub fn picture(&self) -> Value {
        json!([self.description, self.secret, self.duration, self.disable, self.permissions])
    }

    pub fn may_pull(&self, project: &str) -> bool {
        let permissions = self.permissions.as_array().into_iter().flatten();
        permissions.into_iter().any(|permission| {
            (permission["namespace"] == project || permission["namespace"] == "*")
                && permission["access"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|access| access["action"] == "pull")
        })
    }

    pub fn may(&self, resource: &str, action: &str) -> bool {
        let permissions = self.permissions.as_array().into_iter().flatten();
        permissions.into_iter().any(|permission| {
            permission["kind"] == "system"
                && permission["access"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|access| access["action"] == action && access["resource"] == resource)
        })
    }
}

fn to_json(state: &State, id: i64, robot: &Robot) -> Value {
    let mut value = json!({
        "creation_time": NOW, "disable": robot.disable, "duration": robot.duration, "editable": true,
        "expires_at": robot.expires_at, "id": id, "level": "system",
        "name": format!("{}{}", state.robot_prefix, robot.name), "permissions": sorted(&robot.permissions),
        "update_time": NOW,
    });
    let map = value.as_object_mut().unwrap();
    if !robot.description.is_empty() {
        map.insert("description".to_owned(), json!(robot.description));
    }
    if state.version != Version::V2_9_5 {
        map.insert("creator_ref".to_owned(), json!(1));
        map.insert("creator_type".to_owned(), json!("local"));
    }
    value
}

/// Only what the API knows of a permission comes back.
fn sorted(permissions: &Value) -> Value {
    let permission = |permission: &Value| {
        let access = permission["access"].as_array().into_iter().flatten();
        let access: Vec<Value> = access
            .map(|access| json!({"action": access["action"], "resource": access["resource"]}))
            .collect();
        json!({"access": access, "kind": permission["kind"], "namespace": permission["namespace"]})
    };
    permissions.as_array().into_iter().flatten().map(permission).collect()
}

fn is_strong(secret: &str) -> bool {
    let has = |is: fn(&char) -> bool| secret.chars().any(|c| is(&c));
    (8..=128).contains(&secret.len())
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_digit)
}

/// `/robots` and below.
pub fn handle(state: &mut State, request: &Request, rest: &[&str], caller: Caller) -> Response {
    let (path, query) = request.split();
    let body = request.json();
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let robots = state.robots.iter().rev().map(|(id, robot)| to_json(state, *id, robot));
            super::pages::page(&path, &query, &robots.collect::<Vec<_>>())
        }
        ("POST", []) => create(state, &body, caller),
        (method, [id]) => {
            let number = id.parse::<i64>().unwrap_or(0);
            let Some(robot) = state.robots.get(&number).cloned() else {
                return Response::error(404, "NOT_FOUND", &format!("robot account {id} not found"));
            };
            match method {
                "GET" => Response::json(200, &to_json(state, number, &robot)),
                "PUT" => update(state, number, robot, &body),
                "PATCH" => {
                    let secret = body["secret"].as_str().unwrap_or_default();
                    let made = format!("Made{}Here{number}", state.seen.len());
                    if !secret.is_empty() && !is_strong(secret) {
                        let message = "the secret must be 8-128, inclusively, characters long with at least 1 uppercase \
                                       letter, 1 lowercase letter and 1 number";
                        return Response::error(400, "BAD_REQUEST", message);
                    }
                    let chosen = if secret.is_empty() { made.clone() } else { secret.to_owned() };
                    state.robots.get_mut(&number).unwrap().secret = chosen;
                    Response::json(200, &if secret.is_empty() { json!({"secret": made}) } else { json!({}) })
                }
                "DELETE" => {
                    state.robots.remove(&number);
                    Response::empty(200)
                }
                _ => Response::error(405, "METHOD_NOT_ALLOWED", "method not allowed"),
            }
        }
        _ => Response::error(404, "NOT_FOUND", &format!("path {path} was not found")),
    }
}

fn create(state: &mut State, body: &Value, caller: Caller) -> Response {
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    if !is_name(&name) {
        return Response::error(
            400,
            "BAD_REQUEST",
            "robot name is not in lower case or contains illegal characters",
        );
    }
    let mut duration = body["duration"].as_i64().unwrap_or(0);
    if duration == 0 {
        if state.version != Version::V2_9_5 {
            let message = "bad request error duration input: 0, duration must be either -1(Never) or a positive integer";
            return Response::error(400, "BAD_REQUEST", message);
        }
        duration = 30;
    }
    if let Some(refused) = check_permissions(state, &body["permissions"]) {
        return refused;
    }
    // Not in the conversations: from Harbor's source, as of 2.15.
    if body["permissions"].as_array().is_none_or(Vec::is_empty) {
        return Response::error(400, "BAD_REQUEST", "bad request empty permission");
    }
    if let Caller::Robot(id) = caller
        && !body["permissions"].as_array().unwrap().iter().all(|permission| {
            state.robots[&id].may_pull(permission["namespace"].as_str().unwrap_or_default())
        })
    {
        let message = "permission scope is invalid. It must be equal to or more restrictive than the creator robot's \
                       permissions";
        return Response::error(403, "DENIED", message);
    }
    let id = state.next_id("robot");
    if state.robots.values().any(|robot| robot.name == name) {
        return Response::error(409, "CONFLICT", &format!("robot account 0:{name} already exists"));
    }
    let secret = format!("Harbor{}Made{id}", state.seen.len());
    let expires_at = if duration == -1 { -1 } else { 1_795_000_000 + duration * 86_400 };
    let robot = Robot {
        name: name.clone(),
        description: body["description"].as_str().unwrap_or_default().to_owned(),
        secret: secret.clone(),
        duration,
        disable: body["disable"].as_bool().unwrap_or(false),
        expires_at,
        permissions: body["permissions"].clone(),
    };
    state.robots.insert(id, robot);
    let full = format!("{}{name}", state.robot_prefix);
    let made =
        json!({"creation_time": NOW, "expires_at": expires_at, "id": id, "name": full, "secret": secret});
    Response::json(201, &made).with("Location", format!("/api/v2.0/robots/{id}"))
}

fn check_permissions(state: &State, permissions: &Value) -> Option<Response> {
    let known = state.version.recorded("permissions");
    for permission in permissions.as_array().into_iter().flatten() {
        let namespace = permission["namespace"].as_str().unwrap_or_default();
        let system = permission["kind"] == "system";
        if !system && namespace != "*" && state.project(namespace).is_none() {
            return Some(Response::error(404, "NOT_FOUND", &format!("project {namespace} not found")));
        }
        let pairs = known[if system { "system" } else { "project" }].as_array();
        for access in permission["access"].as_array().into_iter().flatten() {
            let same =
                |pair: &Value| pair["resource"] == access["resource"] && pair["action"] == access["action"];
            if pairs.is_some_and(|pairs| !pairs.iter().any(same)) {
                let text = |key: &str| access[key].as_str().unwrap_or_default().to_owned();
                let message = format!("bad request permission: {}:{}", text("resource"), text("action"));
                return Some(Response::error(400, "BAD_REQUEST", &message));
            }
        }
    }
    None
}

fn update(state: &mut State, id: i64, mut robot: Robot, body: &Value) -> Response {
    if body["name"] != format!("{}{}", state.robot_prefix, robot.name) || body["level"] != "system" {
        return Response::error(400, "BAD_REQUEST", "cannot update the level or name of robot");
    }
    if let Some(refused) = check_permissions(state, &body["permissions"]) {
        return refused;
    }
    body["description"].as_str().unwrap_or_default().clone_into(&mut robot.description);
    robot.disable = body["disable"].as_bool().unwrap_or(false);
    robot.duration = body["duration"].as_i64().unwrap_or(robot.duration);
    robot.expires_at = if robot.duration == -1 { -1 } else { robot.expires_at };
    robot.permissions = body["permissions"].clone();
    state.robots.insert(id, robot);
    Response::empty(200)
}

/// Finds out who asks.
pub fn caller(state: &State, request: &Request) -> Caller {
    let Some((user, password)) = request.basic() else {
        let given = request.header("authorization").is_some();
        return if given { Caller::Unknown } else { Caller::Anonymous };
    };
    if user == "admin" && password == state.admin_password {
        return Caller::Admin;
    }
    let short = user.strip_prefix(&state.robot_prefix);
    let robot = state
        .robots
        .iter()
        .find(|(_, robot)| short == Some(&robot.name) && robot.secret == password && !robot.disable);
    robot.map_or(Caller::Unknown, |(id, _)| Caller::Robot(*id))
}
