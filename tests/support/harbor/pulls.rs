//! Harbor's registry: logins, tokens, and images that are cached as they are pulled.

use serde_json::json;

use super::api::Caller;
use super::objects::State;
use super::wire::{Request, Response};

const JSON: &str = "application/json; charset=utf-8";

fn plain(status: u16, body: &serde_json::Value) -> Response {
    Response { status, headers: vec![("Content-Type".to_owned(), JSON.to_owned())], body: body.to_string() }
}

/// `/v2/` and below, and `/service/token`.
pub fn handle(state: &mut State, request: &Request, caller: Caller) -> Response {
    let (path, _) = request.split();
    if path == "/service/token" {
        // Whoever asks gets one; a wrong secret is only seen in what it allows.
        let token = json!({"token": "t.t.t", "access_token": "", "expires_in": 1800, "issued_at": "2026-11-26T05:16:08Z"});
        return plain(200, &token);
    }
    if path == "/v2/" {
        return match caller {
            Caller::Admin | Caller::Robot(_) => plain(200, &json!({})),
            Caller::Anonymous | Caller::Unknown => challenge(state),
        };
    }
    let Some((name, reference)) = path.strip_prefix("/v2/").and_then(|rest| rest.split_once("/manifests/"))
    else {
        return Response::error(404, "NOT_FOUND", "not found");
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
    let key = (behind.url.clone(), format!("{repository}:{reference}"));
    let Some(image) = state.upstreams.get(&key).cloned() else {
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

fn challenge(state: &State) -> Response {
    let realm =
        format!("Bearer realm=\"http://{}/service/token\",service=\"harbor-registry\"", state.address);
    Response::error(401, "UNAUTHORIZED", "unauthorized: unauthorized").with("WWW-Authenticate", realm)
}
