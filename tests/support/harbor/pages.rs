//! Lists in pages, as every list of the API comes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::wire::Response;

/// Returns the page that is asked for.
pub fn page(path: &str, query: &BTreeMap<String, String>, all: &[Value]) -> Response {
    let number = |key: &str, default: usize| query.get(key).map_or(Some(default), |text| text.parse().ok());
    let (Some(page), Some(size)) = (number("page", 1), number("page_size", 10)) else {
        return Response::error(
            422,
            "UNPROCESSABLE_ENTITY",
            "validation failure list:\npage in query must be of type int64",
        );
    };
    if size > 100 {
        let message = "validation failure list:\npage_size in query should be less than or equal to 100";
        return Response::error(422, "UNPROCESSABLE_ENTITY", message);
    }
    let skipped = (page.max(1) - 1) * size;
    let items: Vec<Value> = all.iter().skip(skipped).take(size).cloned().collect();
    let more = skipped + items.len() < all.len();
    let link = |to: usize, rel: &str| format!("<{path}?page={to}&page_size={size}>; rel=\"{rel}\"");
    let before = (page > 1).then(|| link(page - 1, "prev"));
    let links: Vec<String> = before.into_iter().chain(more.then(|| link(page + 1, "next"))).collect();
    let response = Response::json(200, &Value::Array(items)).with("X-Total-Count", all.len().to_string());
    if links.is_empty() { response } else { response.with("Link", links.join(" , ")) }
}

/// Keeps what a query such as `name=docker.io` or `name=~dock` is about.
pub fn matching(query: &BTreeMap<String, String>, all: Vec<Value>) -> Vec<Value> {
    let Some(q) = query.get("q") else { return all };
    let fits = |item: &Value| {
        q.split(',').all(|term| {
            let Some((key, wanted)) = term.split_once('=') else { return true };
            let found = item
                .get(key.to_lowercase())
                .map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            match (wanted.strip_prefix('~'), found) {
                (Some(part), Some(found)) => found.contains(part),
                (None, Some(found)) => found == wanted,
                (_, None) => false,
            }
        })
    };
    all.into_iter().filter(fits).collect()
}
