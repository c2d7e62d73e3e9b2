use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::html::Html;
use crate::cache::config::ByteSize;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What a page may do: its own style and script, and asking this server again; nothing else.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// A page of the status, and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Status,
    Images,
}

/// Writes a page around what `main` writes.
pub(super) fn page(page: Page, version: &str, main: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n")
        .raw("<link rel=\"icon\" href=\"data:,\">\n");
    html.raw(match page {
        Page::Status => "<noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>\n<title>Status",
        Page::Images => "<title>Images",
    });
    html.raw(" · talmirror-cache</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n");
    html.raw("<a class=\"skip\" href=\"#main\">Skip to the content</a>\n<header><p class=\"name\">talmirror-cache ")
        .text(version)
        .raw("</p>\n<nav aria-label=\"Pages\"><a href=\"/\"");
    html.raw(if page == Page::Status { " aria-current=\"page\"" } else { "" });
    html.raw(">Status</a> <a href=\"/images\"");
    html.raw(if page == Page::Images { " aria-current=\"page\"" } else { "" });
    html.raw(
        ">Images</a> <a href=\"/metrics\">Metrics</a></nav></header>\n<main id=\"main\" tabindex=\"-1\">\n",
    );
    main(&mut html);
    html.raw("</main>\n<script>").raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    html.into_text()
}

/// Writes the form that searches what is cached; it holds what was searched for.
pub(super) fn search_form(html: &mut Html, query: &str) {
    html.raw("<form action=\"/images\" role=\"search\"><label for=\"q\">Search what is cached</label> ");
    html.raw("<input id=\"q\" name=\"q\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" value=\"");
    html.text(query).raw("\"> <button>Search</button></form>\n");
}

/// Begins a table that may be wider than the screen; `caption` names it.
pub(super) fn table(html: &mut Html, caption: &'static str, columns: &[&'static str]) {
    html.raw("<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"").raw(caption);
    html.raw("\">\n<table>\n<caption>").raw(caption).raw("</caption>\n<thead><tr>");
    for column in columns {
        html.raw("<th scope=\"col\">").raw(column).raw("</th>");
    }
    html.raw("</tr></thead>\n<tbody>\n");
}

/// Ends what [`table`] began.
pub(super) fn end_table(html: &mut Html) {
    html.raw("</tbody>\n</table>\n</div>\n");
}

/// Writes a time for people and programs.
pub(super) fn time(html: &mut Html, time: Timestamp) {
    let text = format!("{time:.0}");
    html.raw("<time datetime=\"").text(&text).raw("\">");
    html.text(text.replace('T', " ").replace('Z', " UTC")).raw("</time>");
}

/// Writes a time that is a text already.
pub(super) fn time_text(html: &mut Html, time: Option<&str>) {
    match time.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(parsed) => self::time(html, parsed),
        None => {
            html.raw("–");
        }
    }
}

/// Returns a number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// Writes an alert or nothing's place: a paragraph that says that there is nothing.
pub(super) fn nothing(html: &mut Html, text: &'static str) {
    html.raw("<p class=\"none\">").raw(text).raw("</p>\n");
}
