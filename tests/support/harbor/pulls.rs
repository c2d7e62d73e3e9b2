//! Harbor's registry: logins, tokens, and images that are cached as they are pulled.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use serde_json::json;

use super::api::Caller;
use super::objects::{State, Upstream};
use super::wire::{Request, Response};

const JSON: &str = "application/json; charset=utf-8";

fn plain(status: u16, body: &serde_json::Value) -> Response {
    Response { status, headers: vec![("Content-Type".to_owned(), JSON.to_owned())], body: body.to_string() }
}

/// `/v2/` and below, and `/service/token`.
pub fn handle(state: &mut State, request: &Request, caller: Caller) -> Response {
    let (path, _) = request.split();
    if path == "/service/token" {
        // Whoever asks gets one; a wrong secret is only seen in that it names no subject.
        let claims = match (caller, request.basic()) {
            (Caller::Admin | Caller::Robot(_), Some((user, _))) => json!({"sub": user}),
            _ => json!({}),
        };
        let token = format!("t.{}.t", BASE64_URL.encode(claims.to_string()));
        return plain(
            200,
            &json!({"token": token, "access_token": "", "expires_in": 1800, "issued_at": "2026-11-26T05:16:08Z"}),
        );
    }
    let caller = request.bearer().map_or(caller, |token| of_token(state, token));
    if path == "/v2/" {
        return match caller {
            Caller::Admin | Caller::Robot(_) => plain(200, &json!({})),
            Caller::Anonymous | Caller::Unknown => challenge(state),
        };
    }
    let parts = |between| path.strip_prefix("/v2/").and_then(|rest| rest.split_once(between));
    let (name, blob, reference) = match (parts("/manifests/"), parts("/blobs/")) {
        (Some((name, reference)), _) => (name, None, reference),
        (None, Some((name, digest))) => (name, Some(digest), ""),
        (None, None) => return Response::error(404, "NOT_FOUND", "not found"),
    };
    let (project, repository) = name.split_once('/').unwrap_or((name, ""));
    let Some((id, found)) = state.project(project).map(|(id, project)| (id, project.clone())) else {
        return Response::error(404, "NOT_FOUND", &format!("project {project} not found"));
    };
    let admitted = match caller {
        Caller::Admin => true,
        Caller::Robot(robot) => state.robots[&robot].may_pull(project),
        Caller::Anonymous | Caller::Unknown => false,
    };
    // On a public project a wrong secret is never noticed.
    if !admitted && found.metadata.get("public").map(String::as_str) != Some("true") {
        return challenge(state);
    }
    let Some(behind) = found.registry.and_then(|id| state.registries.get(&id)) else {
        return Response::error(404, "NOT_FOUND", &format!("repository {name} not found"));
    };
    if let Some(digest) = blob {
        return match state.blobs.get(digest) {
            Some(body) => Response { body: body.clone(), ..Response::empty(200) },
            None => Response::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        };
    }
    let is_it = |((url, image), found): &(&(String, String), &Upstream)| {
        let by_digest = || image.rsplit_once(':').is_some_and(|(own, _)| own == repository);
        *url == behind.url
            && (*image == format!("{repository}:{reference}")
                || by_digest() && found.artifact["digest"] == reference)
    };
    let Some(image) = state.upstreams.iter().find(is_it).map(|(_, found)| found.clone()) else {
        let message = format!("resource not found: repo {name}, tag {reference} not found");
        return Response::error(404, "NOT_FOUND", &message);
    };
    let repositories = &mut state.projects.get_mut(&id).unwrap().repositories;
    let artifacts = repositories.entry(repository.to_owned()).or_default();
    if !artifacts.contains(&image.artifact) {
        artifacts.push(image.artifact.clone());
    }
    let kind = image.manifest["mediaType"].as_str().unwrap_or_default().to_owned();
    let digest = image.artifact["digest"].as_str().unwrap_or_default().to_owned();
    Response {
        status: 200,
        headers: vec![("Content-Type".to_owned(), kind), ("Docker-Content-Digest".to_owned(), digest)],
        body: image.manifest.to_string(),
    }
}

/// Who a token is for: whoever brings one without a subject is not known.
fn of_token(state: &State, token: &str) -> Caller {
    let claims = token.split('.').nth(1).and_then(|text| BASE64_URL.decode(text).ok());
    let claims: serde_json::Value =
        claims.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let user = claims["sub"].as_str().unwrap_or_default();
    let short = user.strip_prefix(&state.robot_prefix);
    match state.robots.iter().find(|(_, robot)| short == Some(&robot.name)) {
        Some((id, _)) => Caller::Robot(*id),
        None if user == "admin" => Caller::Admin,
        None => Caller::Unknown,
    }
}

fn challenge(state: &State) -> Response {
    let realm =
        format!("Bearer realm=\"http://{}/service/token\",service=\"harbor-registry\"", state.address);
    Response::error(401, "UNAUTHORIZED", "unauthorized: unauthorized").with("WWW-Authenticate", realm)
}
