use super::chart;
use super::html::Html;
use super::layout::{Page, end_table, nothing, page, search_form, size, table, time, time_text};
use super::view::{DownloadState, FailureState, Status, StoreState, TrafficState};
use crate::cache::admin::{BucketState, EndpointState, HostState, ReplicaState, UpstreamState};

/// Writes the page about how a server is.
pub(super) fn status_page(status: &Status) -> String {
    page(Page::Status, status.version, |html| {
        html.raw("<h1>Status</h1>\n");
        // Not in what is replaced: the script finds it there, and nothing that is typed is lost.
        search_form(html, "");
        html.raw("<div id=\"live\">\n<p class=\"when\">As of ");
        time(html, status.now);
        html.raw("; running since ");
        time(html, status.started_at);
        html.raw(". <a href=\"/status.json\">JSON</a></p>\n");
        degraded(html, status);
        section(html, "store", "Disk", |html| store(html, &status.store));
        if let Some(one) = &status.bucket {
            section(html, "bucket", "Bucket", |html| bucket(html, one));
        }
        if let Some(peers) = &status.peers {
            section(html, "peers", "Other caches on the bucket", |html| replicas(html, peers));
        }
        section(html, "upstreams", "Upstream registries", |html| upstreams(html, status));
        section(html, "downloads", "Running downloads", |html| downloads(html, &status.downloads));
        section(html, "traffic", "Traffic", |html| traffic(html, &status.traffic));
        section(html, "failures", "Last errors", |html| failures(html, &status.failures));
        html.raw("</div>\n");
    })
}

fn section(html: &mut Html, id: &'static str, title: &'static str, content: impl FnOnce(&mut Html)) {
    html.raw("<section aria-labelledby=\"").raw(id).raw("\">\n<h2 id=\"").raw(id).raw("\">").raw(title);
    html.raw("</h2>\n");
    content(html);
    html.raw("</section>\n");
}

fn degraded(html: &mut Html, status: &Status) {
    if status.degraded.is_empty() {
        html.raw("<p class=\"well\" role=\"status\"><strong>All is well</strong> with disk and store.</p>\n");
        return;
    }
    html.raw("<div class=\"ill\" role=\"alert\">\n");
    for part in &status.degraded {
        html.raw("<p><strong>").text(part.part).raw("</strong>: ").text(&part.why).raw("</p>\n");
    }
    html.raw("</div>\n");
}

fn store(html: &mut Html, store: &StoreState) {
    let used = store.stored_bytes.saturating_add(store.reserved_bytes);
    html.raw("<p>").text(size(used));
    if let Some(cap) = store.cap_bytes {
        html.raw(" of ").text(size(cap)).raw(" <meter aria-label=\"Disk used of the cap\" min=\"0\" max=\"");
        html.text(cap.max(1)).raw("\" value=\"").text(used.min(cap)).raw("\">");
        let percent = u128::from(used) * 100 / u128::from(cap.max(1));
        html.text(percent).raw(" %</meter> ").text(percent).raw(" %");
    }
    html.raw("</p>\n<dl>\n");
    let rows = [
        ("Being fetched", size(store.reserved_bytes)),
        ("Free on the disk", store.free_bytes.map_or_else(|| "–".to_owned(), size)),
        ("Blobs", store.blobs.to_string()),
        ("Manifests", store.manifests.to_string()),
        ("Tags", store.tags.to_string()),
        ("Evicted since start", format!("{} ({})", store.evicted, size(store.evicted_bytes))),
        ("Damaged since start", store.damaged.to_string()),
    ];
    for (name, value) in rows {
        html.raw("<div><dt>").raw(name).raw("</dt><dd>").text(value).raw("</dd></div>\n");
    }
    html.raw("</dl>\n");
}

fn bucket(html: &mut Html, bucket: &BucketState) {
    html.raw("<p><code>").text(&bucket.url).raw("</code>: ");
    match &bucket.trouble {
        None => html.raw("<span class=\"good\">well</span>"),
        Some(why) => html.raw("<span class=\"bad\">").text(why).raw("</span>"),
    };
    html.raw("</p>\n<dl>\n");
    let since = |time: &Option<String>| time.clone().unwrap_or_else(|| "–".to_owned());
    let rows = [
        ("Not read since", since(&bucket.unread_since)),
        ("Not written since", since(&bucket.unwritten_since)),
        ("Came from it", format!("{} ({})", bucket.given, size(bucket.received_bytes))),
        ("Written to it", format!("{} ({})", bucket.written, size(bucket.sent_bytes))),
        ("Waits to be written", bucket.pending.to_string()),
        ("Not written", bucket.dropped.to_string()),
        ("Requests", bucket.requests.to_string()),
        ("Failed requests", bucket.failed.to_string()),
        ("Last collection", since(&bucket.collection.ended_at)),
        ("Freed by it", format!("{} ({})", bucket.collection.freed(), size(bucket.collection.freed_bytes))),
        ("Left by it", format!("{} ({})", bucket.collection.kept, size(bucket.collection.kept_bytes))),
    ];
    for (name, value) in rows {
        html.raw("<div><dt>").raw(name).raw("</dt><dd>").text(value).raw("</dd></div>\n");
    }
    html.raw("</dl>\n");
    if let Some(why) = &bucket.collection.trouble {
        html.raw("<p>This cache cannot collect what is not needed: <span class=\"bad\">");
        html.text(why).raw("</span></p>\n");
    }
}

fn replicas(html: &mut Html, peers: &ReplicaState) {
    html.raw("<p>They ask this one at <code>").text(&peers.url).raw("</code>.</p>\n<dl>\n");
    let rows = [
        ("Came from them", format!("{} ({})", peers.given, size(peers.received_bytes))),
        ("Fetched for all", peers.leases.to_string()),
        ("In place of one that was gone", peers.taken_over.to_string()),
        ("Fetched without a lease", peers.without_lease.to_string()),
    ];
    for (name, value) in rows {
        html.raw("<div><dt>").raw(name).raw("</dt><dd>").text(value).raw("</dd></div>\n");
    }
    html.raw("</dl>\n");
    if peers.members.is_empty() {
        nothing(html, "There is no other cache on the bucket.");
        return;
    }
    table(html, "Caches", &["Cache", "State"]);
    for member in &peers.members {
        html.raw("<tr><th scope=\"row\">").text(&member.url).raw("</th>");
        match &member.trouble {
            None => html.raw("<td class=\"good\">asked"),
            Some(why) => html.raw("<td class=\"bad\">not asked: ").text(why),
        };
        html.raw("</td></tr>\n");
    }
    end_table(html);
}

fn upstreams(html: &mut Html, status: &Status) {
    if status.upstreams.is_empty() {
        nothing(html, "No registry is served.");
        return;
    }
    let columns = ["Registry", "Endpoint", "State", "Since", "Until", "Transfers", "Waiting", "Pulls left"];
    table(html, "Endpoints", &columns);
    for upstream in &status.upstreams {
        for one in &upstream.endpoints {
            endpoint(html, upstream, one);
        }
    }
    end_table(html);
    let paused = || {
        status.upstreams.iter().flat_map(|upstream| upstream.endpoints.iter().map(move |one| (upstream, one)))
    };
    if paused().any(|(_, endpoint)| !endpoint.repositories.is_empty()) {
        table(
            html,
            "Repositories that are not asked now",
            &["Registry", "Repository", "Reason", "Since", "Until"],
        );
        for (upstream, endpoint) in paused() {
            for repository in &endpoint.repositories {
                html.raw("<tr><th scope=\"row\">").text(&upstream.registry).raw("</th><td>");
                html.text(repository.name()).raw("</td><td class=\"bad\">").text(&repository.paused);
                html.raw("</td><td>");
                time_text(html, repository.paused_since.as_deref());
                html.raw("</td><td>");
                time_text(html, repository.paused_until.as_deref());
                html.raw("</td></tr>\n");
            }
        }
        end_table(html);
    }
    if status.hidden_repositories > 0 {
        html.raw("<p>Private repositories that are not asked now: ").text(status.hidden_repositories);
        html.raw(". <code>talmirror-cache stats</code> names them.</p>\n");
    }
    hosts(html, &status.hosts);
    if status.hidden_hosts > 0 {
        html.raw("<p>Hosts that private registries lead to and that are not asked now: ");
        html.text(status.hidden_hosts).raw(". <code>talmirror-cache stats</code> names them.</p>\n");
    }
}

fn endpoint(html: &mut Html, upstream: &UpstreamState, endpoint: &EndpointState) {
    html.raw("<tr><th scope=\"row\">").text(&upstream.registry).raw("</th><td>").text(&endpoint.endpoint);
    match &endpoint.paused {
        None => html.raw("</td><td class=\"good\">asked"),
        Some(why) => html.raw("</td><td class=\"bad\">not asked: ").text(why),
    };
    html.raw("</td><td>");
    time_text(html, endpoint.paused_since.as_deref());
    html.raw("</td><td>");
    time_text(html, endpoint.paused_until.as_deref());
    html.raw("</td><td>").text(upstream.transfers).raw(" of ").text(upstream.transfers_limit);
    html.raw("</td><td>").text(upstream.queued).raw("</td><td>");
    match (endpoint.quota_remaining, endpoint.quota_limit) {
        (Some(left), Some(limit)) => {
            html.text(left).raw(" of ").text(limit).raw(" <meter aria-label=\"Pulls left\" min=\"0\" max=\"");
            html.text(limit.max(1)).raw("\" value=\"").text(left.min(limit)).raw("\"></meter>");
        }
        (Some(_) | None, _) => {
            html.raw("–");
        }
    }
    html.raw("</td></tr>\n");
}

fn hosts(html: &mut Html, hosts: &[HostState]) {
    if hosts.is_empty() {
        return;
    }
    table(
        html,
        "Hosts that registries lead to and that are not asked now",
        &["Host", "Reason", "Since", "Until"],
    );
    for host in hosts {
        html.raw("<tr><th scope=\"row\">").text(&host.host).raw("</th><td class=\"bad\">").text(&host.paused);
        html.raw("</td><td>");
        time_text(html, host.paused_since.as_deref());
        html.raw("</td><td>");
        time_text(html, host.paused_until.as_deref());
        html.raw("</td></tr>\n");
    }
    end_table(html);
}

fn downloads(html: &mut Html, downloads: &[DownloadState]) {
    if downloads.is_empty() {
        nothing(html, "Nothing is being downloaded.");
        return;
    }
    table(html, "Downloads", &["From", "Digest", "Progress", "Clients"]);
    for download in downloads {
        html.raw("<tr><th scope=\"row\">").text(download.from.as_deref().unwrap_or("–")).raw("</th><td>");
        match &download.digest {
            Some(digest) => html.raw("<code>").text(short(digest)).raw("</code>"),
            None => html.raw("private"),
        };
        html.raw("</td><td>").text(size(download.received_bytes));
        if let Some(total) = download.total_bytes {
            html.raw(" of ")
                .text(size(total))
                .raw(" <progress aria-label=\"Downloaded\" max=\"")
                .text(total.max(1));
            html.raw("\" value=\"").text(download.received_bytes.min(total)).raw("\"></progress>");
        }
        html.raw("</td><td>").text(download.readers).raw("</td></tr>\n");
    }
    end_table(html);
}

fn traffic(html: &mut Html, traffic: &TrafficState) {
    let all = traffic.since_start;
    html.raw("<dl>\n<div><dt>From the store</dt><dd>");
    match traffic.hit_percent {
        Some(percent) => html.text(percent).raw(" % of "),
        None => html.raw("none of "),
    };
    html.text(all.hits.saturating_add(all.misses).saturating_add(all.joined)).raw(" objects</dd></div>\n");
    html.raw("<div><dt>Sent to clients</dt><dd>").text(size(all.sent_bytes));
    html.raw("</dd></div>\n<div><dt>Received from upstream</dt><dd>").text(size(all.received_bytes));
    html.raw("</dd></div>\n</dl>\n");
    chart::hit_ratio(html, &traffic.slots);
    chart::bytes(html, &traffic.slots);
    let is_used = |slot: &&super::view::Slot| slot.traffic != crate::cache::observe::Traffic::default();
    html.raw("<details><summary>Figures of the charts, in slots of ").text(traffic.slot_seconds / 60);
    html.raw(" min</summary>\n");
    table(html, "Traffic over time", &["From", "Store", "Fetched", "Joined", "To clients", "From upstream"]);
    for slot in traffic.slots.iter().rev().filter(is_used) {
        html.raw("<tr><th scope=\"row\">");
        time(html, slot.start);
        html.raw("</th><td>").text(slot.traffic.hits).raw("</td><td>").text(slot.traffic.misses);
        html.raw("</td><td>").text(slot.traffic.joined).raw("</td><td>").text(size(slot.traffic.sent_bytes));
        html.raw("</td><td>").text(size(slot.traffic.received_bytes)).raw("</td></tr>\n");
    }
    end_table(html);
    html.raw("</details>\n");
}

fn failures(html: &mut Html, failures: &[FailureState]) {
    if failures.is_empty() {
        nothing(html, "No request has failed by a fault of this server or of a registry.");
        return;
    }
    table(html, "Failed requests", &["Last", "Times", "Status", "Registry", "Asked for", "Reason"]);
    for failure in failures {
        html.raw("<tr><td>");
        time(html, failure.at);
        html.raw("</td><td>").text(failure.times).raw("</td><td>").text(failure.status).raw("</td><td>");
        html.text(failure.registry.as_deref().unwrap_or("–")).raw("</td><td>");
        html.text(failure.path.as_deref().unwrap_or("–")).raw("</td><td>").text(&failure.why);
        html.raw("</td></tr>\n");
    }
    end_table(html);
}

/// Returns the beginning of a digest.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}
