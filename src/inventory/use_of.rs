use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::model::{Fallback, Inventory, MirrorKind, Via};
use super::resolve::Route;
use crate::finding::{Code, Problems};
use crate::registries::{Endpoint, foreign_upstream};
use crate::secret::without_userinfo;

/// Finds what shows only when the routes of all targets are known: mirrors that are used for more than they can serve,
/// credentials that no pull uses.
pub(super) fn check_use(inventory: &Inventory, problems: &mut Problems<'_>) {
    let targets = inventory.unlike_targets().into_iter();
    let routes: Vec<IndexMap<&str, Route<'_>>> = targets.map(|target| inventory.routes(target)).collect();
    let mut through: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for (name, route) in routes.iter().flatten() {
        for hop in route.via {
            if let Via::Mirror(mirror) = hop {
                through.entry(mirror).or_default().insert(name);
            }
        }
        if route.fallback == Fallback::Upstream || route.via.contains(&Via::Upstream) || route.via.is_empty()
        {
            asked.insert(name);
        }
    }
    for (name, mirror) in &inventory.mirrors {
        let used = through.get(name.as_str());
        let several = used.is_some_and(|used| used.len() > 1 || used.contains("*"));
        if several && mirror.kind == MirrorKind::Plain && mirror.serves.is_none() {
            let names: Vec<String> = used.into_iter().flatten().map(|name| format!("`{name}`")).collect();
            let message = format!(
                "`{name}` is of kind plain, which mirrors one registry, and serves {}",
                names.join(", ")
            );
            problems.add(Code::CannotServe, &mirror.span, format!("mirrors.{name}"), message).help = Some(
                "kind cache serves any registry; if this one does serve them, list them in `serves`"
                    .to_owned(),
            );
        }
        if mirror.credentials.is_some() && used.is_none() {
            let message = format!("no registry goes through `{name}`, so its credentials are never used");
            problems.add(Code::NeverUsed, &mirror.span, format!("mirrors.{name}.credentials"), message);
        }
        let endpoint = Endpoint::new(mirror.url.clone(), false);
        for registry in used.into_iter().flatten() {
            let url = without_userinfo(&mirror.url);
            if let Some(serves) = foreign_upstream(registry, &endpoint) {
                let message = format!("`{url}` serves the images of {serves}, not those of {registry}");
                problems.add(Code::ForeignUpstream, &mirror.url_span, format!("mirrors.{name}.url"), message);
            }
        }
    }
    for (name, placed) in &inventory.base.registries {
        let upstream = placed.value.as_ref().map(|registry| &registry.upstream);
        let credentials = upstream.and_then(|upstream| upstream.credentials.get());
        if credentials.is_some() && name != "*" && !asked.contains(name.as_str()) {
            let path = format!("registries.{}.upstream.credentials", without_userinfo(name));
            let message = format!("`{name}` itself is never asked, so its credentials are never used");
            problems.add(Code::NeverUsed, &placed.span, path, message).help =
                Some("use `fallback: upstream`, or leave them out".to_owned());
        }
    }
}
